//! What `view -o json --spans` tells, in the form in which the scripts of `tests/exports`
//! give what they read in a trace.
//!
//! ```text
//! {"threads": [{"name", "id", "calls": [["enter", span, moment], ["leave", …], …]}, …],
//!  "spans": [{"name", "from", "to", "fields", "open_at_death", "began_before", "is_child"}, …],
//!  "events": [{"name", "thread", "at", "level", "source", "fields"}, …]}
//! ```
//!
//! Moments are nanoseconds since the day began. Spans are told apart by their names and the
//! fields that they were opened with: the scene has no two at once that have both in common.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::moment_ns;
use crate::Violation;

/// What is told.
#[derive(Debug, Default)]
pub struct Told {
    threads: BTreeMap<u64, Thread>,
    spans: Vec<Span>,
    events: Vec<Value>,
    end: u64,
}

#[derive(Debug, Default)]
struct Thread {
    name: String,
    stack: Vec<String>,
    calls: Vec<Value>,
}

#[derive(Debug)]
struct Span {
    name: String,
    from: u64,
    to: Option<u64>,
    opened_with: Value,
    fields: Value,
    is_child: bool,
    began_before: bool,
}

impl Told {
    /// What the lines of all of a recording tell.
    pub fn by(lines: &[Value]) -> Told {
        Told::since(lines, 0)
    }

    /// What they tell of the time from a moment on.
    pub fn since(lines: &[Value], begin: u64) -> Told {
        let mut told = Told::default();
        let mut has_begun = false;
        for line in lines {
            let now = moment_ns(line);
            if !has_begun && now >= begin {
                told.begin(begin);
                has_begun = true;
            }
            told.take_in(line, now);
        }
        told
    }

    /// Forgets what was before, but for what was open and entered.
    fn begin(&mut self, begin: u64) {
        self.events.clear();
        self.spans.retain(|span| span.to.is_none());
        for span in &mut self.spans {
            (span.from, span.began_before) = (begin, true);
        }
        for thread in self.threads.values_mut() {
            let entered = thread.stack.iter();
            thread.calls = entered.map(|name| json!(["enter", name, begin])).collect();
        }
    }

    fn take_in(&mut self, line: &Value, now: u64) {
        self.end = now;
        let id = line["threadId"].as_u64().unwrap_or(0);
        let thread = self.threads.entry(id).or_default();
        thread.name = line["threadName"].as_str().unwrap_or("").to_owned();
        let span = name_of(&line["span"]);
        let said = line["fields"]["message"].as_str();
        match said {
            Some("enter") => thread.enter(&span, now),
            Some("exit") => thread.leave(&span, now),
            Some("new") => self.spans.push(Span {
                name: span,
                from: now,
                to: None,
                opened_with: fields_of(&line["span"]),
                fields: fields_of(&line["span"]),
                is_child: line["spans"].as_array().map_or(0, Vec::len) > 1,
                began_before: false,
            }),
            Some("close") => self.with_span(&line["span"], |it| it.to = Some(now)),
            Some("record") => self.with_span(&line["span"], |it| {
                it.fields = fields_of(&line["span"]);
            }),
            _ => self.events.push(event(line, now)),
        }
    }

    fn with_span(&mut self, shown: &Value, change: impl FnOnce(&mut Span)) {
        let (name, fields) = (name_of(shown), fields_of(shown));
        let is_it = |span: &&mut Span| {
            span.to.is_none() && span.name == name && holds(&fields, &span.opened_with)
        };
        change(self.spans.iter_mut().find(is_it).expect("an open span"));
    }

    /// What a script must have read.
    fn as_read(&self) -> Value {
        let threads = self.threads.iter().filter_map(|(&id, thread)| {
            let calls = thread.calls_until(self.end);
            (!calls.is_empty()).then(|| json!({"name": thread.name, "id": id, "calls": calls}))
        });
        let spans = self.spans.iter().map(|span| {
            json!({
                "name": span.name, "from": span.from, "to": span.to.unwrap_or(self.end),
                "fields": span.fields, "open_at_death": span.to.is_none(),
                "began_before": span.began_before, "is_child": span.is_child,
            })
        });
        json!({
            "threads": threads.collect::<Vec<_>>(), "spans": sorted(spans), "events": self.events,
        })
    }

    /// Checks that a script has read what is told, and no more.
    ///
    /// # Errors
    /// It has not: what is told first of what it has not read.
    pub fn is_read(&self, read: &Value) -> Result<(), Violation> {
        let told = self.as_read();
        let spans = read["spans"].as_array().cloned().unwrap_or_default();
        let mut threads = read["threads"].as_array().cloned().unwrap_or_default();
        threads.sort_by_key(|thread| thread["id"].as_u64());
        same("threads", &told["threads"], &threads.into())?;
        same("spans", &told["spans"], &sorted(spans.into_iter()))?;
        same("events", &told["events"], &read["events"])
    }

    /// How many of each: threads, spans and events.
    pub fn counts(&self) -> [usize; 3] {
        [self.threads.len(), self.spans.len(), self.events.len()]
    }
}

impl Thread {
    fn enter(&mut self, span: &str, now: u64) {
        self.stack.push(span.to_owned());
        self.calls.push(json!(["enter", span, now]));
    }

    /// What was entered behind it ends, too, and begins again.
    fn leave(&mut self, span: &str, now: u64) {
        let place = self.stack.iter().rposition(|entered| entered == span);
        let place = place.expect("an entered span");
        let inside = self.stack.split_off(place + 1);
        self.stack.pop();
        let left = inside.iter().rev().map(String::as_str).chain([span]);
        self.calls
            .extend(left.map(|name| json!(["leave", name, now])));
        for name in inside {
            self.enter(&name, now);
        }
    }

    fn calls_until(&self, end: u64) -> Vec<Value> {
        let entered = self.stack.iter().rev();
        let left = entered.map(|name| json!(["leave", name, end]));
        self.calls.iter().cloned().chain(left).collect()
    }
}

fn name_of(span: &Value) -> String {
    span["name"].as_str().unwrap_or("?").to_owned()
}

fn fields_of(span: &Value) -> Value {
    let mut fields = span.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("name");
    }
    fields
}

/// Whether all of `some` is among `fields`.
fn holds(fields: &Value, some: &Value) -> bool {
    let mut some = some.as_object().into_iter().flatten();
    some.all(|(name, value)| fields[name] == *value)
}

fn event(line: &Value, now: u64) -> Value {
    let target = line["target"].as_str().unwrap_or("?");
    let message = line["fields"]["message"].as_str();
    let name = message.map_or_else(|| format!("event of {target}"), str::to_owned);
    let file = line["filename"].as_str().unwrap_or("?");
    json!({
        "name": name, "thread": line["threadId"], "at": now, "level": line["level"],
        "source": format!("{file}:{}", line["line_number"]), "fields": line["fields"],
    })
}

fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    values.sort_by_key(Value::to_string);
    values.into()
}

/// Checks that two lists are the same.
fn same(what: &str, told: &Value, read: &Value) -> Result<(), Violation> {
    let (told, read) = (told.as_array(), read.as_array());
    let (Some(told), Some(read)) = (told, read) else {
        return Err(Violation::new(format!("there are no {what}")));
    };
    if let Some((told, read)) = told.iter().zip(read).find(|(told, read)| told != read) {
        let words = format!("of the {what}, told is {told}\nand read {read}");
        return Err(Violation::new(words));
    }
    match told.len() == read.len() {
        true => Ok(()),
        false => Err(Violation::new(format!(
            "{} {what} are told, and {} read",
            told.len(),
            read.len()
        ))),
    }
}
