//! A condition on a field: `id=7`, `table!=users`, `elapsed_ms>=100`.
//!
//! A field is an event's own, or one of the spans around it, as it was then; with the
//! span's name before it, `request.id=7`, of that span alone. Where both sides are numbers
//! they are compared as numbers, else as the text that `view` shows, with or without its
//! quotes. `!=` holds where there is such a field, and none of that value.

use std::cmp::Ordering;
use std::fmt;

use ttlog_format::salvage::{Entry, Recording, Span};
use ttlog_format::site::CallSite;
use ttlog_format::value::{Borrowed, Field, Value};

use crate::escape::quoted;
use crate::shown::name_of;
use crate::text::value_text;

/// A condition on a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    key: String,
    relation: Relation,
    wanted: String,
    number: Option<Number>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Is,
    IsNot,
    More,
    Less,
    AtLeast,
    AtMost,
}

/// The signs, longer ones before those that they begin with.
const SIGNS: [(&str, Relation); 6] = [
    ("!=", Relation::IsNot),
    (">=", Relation::AtLeast),
    ("<=", Relation::AtMost),
    ("=", Relation::Is),
    (">", Relation::More),
    ("<", Relation::Less),
];

impl Relation {
    /// Whether it is between numbers alone.
    fn is_of_numbers(self) -> bool {
        !matches!(self, Relation::Is | Relation::IsNot)
    }

    fn allows(self, order: Ordering) -> bool {
        match self {
            Relation::Is | Relation::IsNot => order.is_eq(),
            Relation::More => order.is_gt(),
            Relation::Less => order.is_lt(),
            Relation::AtLeast => order.is_ge(),
            Relation::AtMost => order.is_le(),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut signs = SIGNS.iter();
        let sign = signs.find(|(_, relation)| *relation == self.relation);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.key, self.wanted)
    }
}

impl Condition {
    /// The condition of `text`; in an error, characters are counted from 1.
    pub(crate) fn parse(text: &str) -> Result<Condition, String> {
        let Some(at) = text.find(['=', '!', '<', '>']) else {
            return Err("expected a sign behind the name, as in id=7 or ms>100".into());
        };
        let (key, rest) = text.split_at(at);
        let key = key.trim();
        let place = |at: usize| {
            let character = text[..at].chars().count() + 1;
            format!(
                "at character {character}: {}",
                quoted(&text.as_bytes()[at..])
            )
        };
        if key.is_empty() {
            return Err(format!("expected a field's name, {}", place(at)));
        }
        let mut signs = SIGNS.iter();
        let Some((sign, relation)) = signs.find(|(sign, _)| rest.starts_with(sign)) else {
            return Err(format!("expected =, !=, >, <, >= or <=, {}", place(at)));
        };
        let wanted = rest[sign.len()..].trim();
        if wanted.starts_with(['=', '~']) {
            let at = at + sign.len();
            return Err(format!("expected a value behind {sign}, {}", place(at)));
        }
        let number = Number::parse(wanted);
        if relation.is_of_numbers() && number.is_none() {
            let at = at + sign.len();
            return Err(format!("expected a number behind {sign}, {}", place(at)));
        }
        Ok(Condition {
            key: key.into(),
            relation: *relation,
            wanted: wanted.into(),
            number,
        })
    }

    /// Whether it holds for an entry.
    pub(crate) fn holds(
        &self,
        recording: &Recording,
        site: Option<&CallSite>,
        entry: &Entry,
    ) -> bool {
        let mut found = Found::default();
        if entry.what.is_event() {
            for field in entry.fields.iter() {
                if name_of(site, field.index) == self.key {
                    found.note(self.agrees(&field.value));
                }
            }
        }
        for (_, span) in recording.around(entry.span) {
            let site = recording.sites.get(&span.site).map(|site| &**site);
            if let Some(field) = self.field_of(span, site, entry.wall_ns) {
                found.note(self.agrees(&field.borrowed().value));
            }
        }
        match self.relation {
            Relation::IsNot => found.any && !found.agreeing,
            _ => found.agreeing,
        }
    }

    /// The field that is meant of a span, as it was at a moment.
    fn field_of<'s>(
        &self,
        span: &'s Span,
        site: Option<&CallSite>,
        wall_ns: u64,
    ) -> Option<&'s Field> {
        let by = wall_ns.max(span.opened_ns);
        let mut fields = span.fields.iter().rev();
        let found = fields.find(|(recorded_ns, field)| {
            *recorded_ns <= by && self.means(site, &name_of(site, field.index))
        });
        found.map(|(_, field)| field)
    }

    /// Whether a span's field of this name is meant.
    fn means(&self, site: Option<&CallSite>, name: &str) -> bool {
        let of_span = || {
            let rest = self.key.strip_prefix(site?.name.as_str())?;
            rest.strip_prefix('.')
        };
        self.key == name || of_span() == Some(name)
    }

    /// Whether a value is what is looked for; for `!=`, what is not.
    fn agrees(&self, value: &Value<Borrowed<'_>>) -> bool {
        let number = self.number.zip(Number::of(value));
        let order = number.and_then(|(wanted, found)| found.compare(wanted));
        match order {
            Some(order) => self.relation.allows(order),
            None if self.relation.is_of_numbers() => false,
            None => self.is_wanted(&value_text(value)),
        }
    }

    fn is_wanted(&self, text: &str) -> bool {
        text == self.wanted || unquoted(text) == unquoted(&self.wanted)
    }
}

/// A text without the quotes around it.
fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    inner.unwrap_or(text)
}

/// What was found of the fields of a name.
#[derive(Default)]
struct Found {
    any: bool,
    agreeing: bool,
}

impl Found {
    fn note(&mut self, agrees: bool) {
        self.any = true;
        self.agreeing |= agrees;
    }
}

/// A number that can be compared with others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn parse(text: &str) -> Option<Number> {
        let integer = text.parse().ok().map(Number::Integer);
        integer.or_else(|| text.parse().ok().map(Number::Float))
    }

    /// The number that a value is, or that its text says.
    fn of(value: &Value<Borrowed<'_>>) -> Option<Number> {
        match value {
            Value::I64(value) => Some(Number::Integer((*value).into())),
            Value::U64(value) => Some(Number::Integer((*value).into())),
            Value::I128(value) => Some(Number::Integer(*value)),
            Value::U128(value) => {
                let integer = i128::try_from(*value).map(Number::Integer);
                Some(integer.unwrap_or(Number::Float(*value as f64)))
            }
            Value::F64(value) => Some(Number::Float(*value)),
            Value::Bool(_) | Value::Bytes(_) | Value::Redacted => None,
            Value::Str(text) | Value::Debug(text) | Value::Error(text) => {
                Number::parse(&text.lossy())
            }
        }
    }

    fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => Some(a.cmp(&b)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }

    fn float(self) -> f64 {
        match self {
            Number::Integer(integer) => integer as f64,
            Number::Float(float) => float,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ttlog_format::value::Text;

    fn agrees(condition: &str, value: &Value<Borrowed<'_>>) -> bool {
        let condition = Condition::parse(condition).unwrap();
        let agrees = condition.agrees(value);
        agrees != (condition.relation == Relation::IsNot)
    }

    fn text(text: &str) -> Text<Borrowed<'_>> {
        Text {
            bytes: text.as_bytes().into(),
            whole: text.len() as u32,
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        for (condition, value) in [
            ("x=7", Value::U64(7)),
            ("x=7.0", Value::I64(7)),
            ("x>-2", Value::I64(-1)),
            ("x > -2", Value::I64(-1)),
            ("x<1e3", Value::F64(999.5)),
            (
                "x>=340282366920938463463374607431768211455",
                Value::U128(u128::MAX),
            ),
            ("x<=10", Value::Str(text("9"))),
            ("x!=7", Value::U64(8)),
        ] {
            assert!(agrees(condition, &value), "{condition} {value:?}");
        }
        for (condition, value) in [
            ("x=7", Value::U64(8)),
            ("x>100", Value::Str(text("soon"))),
            ("x>0", Value::F64(f64::NAN)),
            ("x!=7", Value::U64(7)),
        ] {
            assert!(!agrees(condition, &value), "{condition} {value:?}");
        }
    }

    #[test]
    fn texts_are_compared_with_and_without_their_quotes() {
        assert!(agrees("x=users", &Value::Str(text("users"))));
        assert!(agrees("x=users", &Value::Debug(text("\"users\""))));
        assert!(agrees("x=\"users\"", &Value::Debug(text("\"users\""))));
        assert!(agrees("x=\"users\"", &Value::Str(text("users"))));
        assert!(agrees("x = users", &Value::Str(text("users"))));
        assert!(agrees("x=Some(7)", &Value::Debug(text("Some(7)"))));
        assert!(agrees("x=true", &Value::Bool(true)));
        assert!(agrees("x=a=b", &Value::Str(text("a=b"))));
        assert!(agrees("x=", &Value::Str(text(""))));
        assert!(!agrees("x=user", &Value::Str(text("users"))));
    }

    #[test]
    fn what_is_no_condition_says_where() {
        let words = |text| Condition::parse(text).unwrap_err();
        assert_eq!(
            words("user_id"),
            "expected a sign behind the name, as in id=7 or ms>100"
        );
        assert_eq!(
            words("=7"),
            r#"expected a field's name, at character 1: "=7""#
        );
        assert_eq!(
            words("id!7"),
            r#"expected =, !=, >, <, >= or <=, at character 3: "!7""#
        );
        assert_eq!(
            words("id==7"),
            r#"expected a value behind =, at character 4: "=7""#
        );
        assert_eq!(
            words("uri=~/users"),
            r#"expected a value behind =, at character 5: "~/users""#
        );
        assert_eq!(
            words("größe>viel"),
            r#"expected a number behind >, at character 7: "viel""#
        );
    }
}
