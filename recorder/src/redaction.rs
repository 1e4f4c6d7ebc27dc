//! Which fields of a call site are redacted: decided when the site is first seen, by the
//! fields' names and by what the program says.
//!
//! The decision is a mask that the adapters look at before any value is encoded, or its
//! `Debug` run. While it is made nothing is held or open: a function of the user's may be
//! part of it. If that panics the field is redacted; if it logs, or a signal handler does
//! meanwhile, all of that call site's fields are, and the decision is not kept.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::Error;
use tracing_core::Metadata;
use tracing_core::field::Field;
use ttlog_format::redaction::Names;

/// What was said about redaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Which names; `None` where nobody said.
    pub(crate) names: Option<Named>,
    /// A function that is asked besides.
    pub(crate) with: Option<With>,
}

/// Names to deny and names to spare.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// Whether those are denied that are so by default.
    pub(crate) defaults: bool,
    pub(crate) denied: Vec<String>,
    pub(crate) spared: Vec<String>,
}

impl Default for Named {
    fn default() -> Named {
        Named {
            defaults: true,
            denied: Vec::new(),
            spared: Vec::new(),
        }
    }
}

/// Of a call site and the name of one of its fields: whether that is redacted.
type Judge = dyn Fn(&Metadata<'_>, &str) -> bool + Send + Sync;

/// A function of the user's.
#[derive(Clone)]
pub(crate) struct With(pub(crate) Arc<Judge>);

impl fmt::Debug for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

/// What is expected of a list of names.
pub(crate) const NAMES_FORM: &str = "names with commas between them, such as iban,email";

impl Asked {
    /// Adds what the environment says: names that are denied in any case; `none`, and
    /// names behind a `-`, which are spared, where the program has said nothing.
    pub(crate) fn or_environment(mut self, text: Option<&str>) -> Asked {
        let Some(text) = text else { return self };
        let open = self.names.is_none();
        let names = self.names.get_or_insert_default();
        for name in text.split(',').map(str::trim) {
            match name.strip_prefix('-') {
                Some(spared) if open => names.spared.push(spared.to_owned()),
                Some(_) => {}
                None if name.eq_ignore_ascii_case("none") => names.defaults &= !open,
                None => {
                    let name = name.strip_prefix('+').unwrap_or(name);
                    names.denied.push(name.to_owned());
                }
            }
        }
        self
    }

    /// The rule that comes of it.
    ///
    /// # Errors
    /// A name without a letter or a digit.
    pub(crate) fn redaction(&self) -> Result<Redaction, Error> {
        let Named {
            defaults,
            denied,
            spared,
        } = self.names.clone().unwrap_or_default();
        let mut names = if defaults {
            Names::default()
        } else {
            Names::none()
        };
        let no_name = |name: &String| Error::value("redact", name.clone(), NAMES_FORM);
        if let Some(name) = denied.iter().find(|name| !names.deny(name)) {
            return Err(no_name(name));
        }
        if let Some(name) = spared.iter().find(|name| !names.spare(name)) {
            return Err(no_name(name));
        }
        Ok(Redaction {
            names,
            with: self.with.clone(),
        })
    }
}

/// Which fields are redacted.
#[derive(Debug)]
pub(crate) struct Redaction {
    names: Names,
    with: Option<With>,
}

thread_local! {
    /// Whether this thread is asking a function of the user's.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

impl Redaction {
    /// What is redacted of a call site. Runs the user's code.
    #[cold]
    pub(crate) fn of(&self, metadata: &'static Metadata<'static>) -> Redactions {
        if self.names.are_none() && self.with.is_none() {
            return Redactions::NONE;
        }
        if ASKING.replace(true) {
            return Redactions::UNDECIDED;
        }
        let fields = metadata.fields().iter();
        let denied = fields.filter(|field| self.denies(metadata, field.name()));
        let redactions = denied.fold(Redactions::NONE, |all, field| all.and(&field));
        ASKING.set(false);
        redactions
    }

    fn denies(&self, metadata: &'static Metadata<'static>, field: &str) -> bool {
        let by_user = |With(with): &With| {
            // What it leaves behind is its own, and asked again as it is.
            catch_unwind(AssertUnwindSafe(|| with(metadata, field))).unwrap_or(true)
        };
        self.names.deny_field(field) || self.with.as_ref().is_some_and(by_user)
    }
}

/// Which fields of a call site are redacted: a bit each. Those from the 64th on share
/// one, and all are if one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redactions(u64);

impl Redactions {
    pub(crate) const NONE: Redactions = Redactions(0);
    /// All of them, since nobody could be asked; not to be kept.
    pub(crate) const UNDECIDED: Redactions = Redactions(u64::MAX);

    pub(crate) fn from_u64(mask: u64) -> Redactions {
        Redactions(mask)
    }

    pub(crate) fn to_u64(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn are_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, field: &Field) -> bool {
        self.0 & bit(field) != 0
    }

    fn and(self, field: &Field) -> Redactions {
        Redactions(self.0 | bit(field))
    }
}

fn bit(field: &Field) -> u64 {
    1 << field.index().min(63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::Callsite as _;
    use tracing::metadata::Kind;

    fn names(asked: &Asked, denied: &[&str], let_through: &[&str]) {
        let redaction = asked.redaction().unwrap();
        for name in denied {
            assert!(redaction.names.deny_field(name), "{name}");
        }
        for name in let_through {
            assert!(!redaction.names.deny_field(name), "{name}");
        }
    }

    fn said(denied: &str) -> Asked {
        Asked {
            names: Some(Named {
                denied: vec![denied.into()],
                ..Named::default()
            }),
            with: None,
        }
    }

    #[test]
    fn the_environment_adds_names_and_opens_only_what_the_program_left_open() {
        let of = |asked: Asked, text| asked.or_environment(Some(text));
        names(
            &of(Asked::default(), "iban, +email"),
            &["iban", "email", "token"],
            &["message"],
        );
        names(&of(Asked::default(), "none"), &[], &["token"]);
        names(&of(Asked::default(), "none,iban"), &["iban"], &["token"]);
        names(
            &of(Asked::default(), "-tokens_used"),
            &["token"],
            &["tokens_used"],
        );
        names(
            &of(said("iban"), "none,-token,email"),
            &["iban", "email", "token"],
            &[],
        );
        names(
            &Asked::default().or_environment(None),
            &["token"],
            &["iban"],
        );
    }

    #[test]
    fn a_name_without_a_letter_is_an_error() {
        for text in [",", "iban,", "-", "+", "none,.", "***"] {
            let asked = Asked::default().or_environment(Some(text));
            let error = asked.redaction().unwrap_err().to_string();
            assert!(error.starts_with("redact is \""), "{error}");
        }
    }

    fn site() -> &'static Metadata<'static> {
        tracing::callsite! { name: "site", kind: Kind::EVENT, fields: user, password, note }
            .metadata()
    }

    fn fields_of(redactions: Redactions) -> Vec<&'static str> {
        let fields = site().fields().iter();
        let redacted = fields.filter(|field| redactions.has(field));
        redacted.map(|field| field.name()).collect()
    }

    fn with(with: impl Fn(&Metadata<'_>, &str) -> bool + Send + Sync + 'static) -> Redaction {
        let with = Some(With(Arc::new(with)));
        Asked { names: None, with }.redaction().unwrap()
    }

    #[test]
    fn a_function_is_asked_besides_and_its_panic_counts_as_yes() {
        let by_name = Asked::default().redaction().unwrap();
        assert_eq!(fields_of(by_name.of(site())), ["password"]);
        let note = with(|metadata, field| metadata.name() == "site" && field == "note");
        assert_eq!(fields_of(note.of(site())), ["password", "note"]);
        let panics = with(|_, field| {
            if field == "user" {
                panic!("meant")
            } else {
                false
            }
        });
        assert_eq!(fields_of(panics.of(site())), ["user", "password"]);
    }

    #[test]
    fn what_is_asked_for_meanwhile_is_undecided() {
        let redaction: Arc<std::sync::OnceLock<Redaction>> = Arc::default();
        let inner = redaction.clone();
        let asks = with(move |_, _| {
            let inner = inner.get().unwrap();
            assert_eq!(inner.of(site()), Redactions::UNDECIDED);
            false
        });
        let redaction = redaction.get_or_init(|| asks);
        assert_eq!(fields_of(redaction.of(site())), ["password"]);
    }
}
