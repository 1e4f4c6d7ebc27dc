//! What `tracing` hands over, as records: the part that both adapters share.

use crate::linux::core::{Core, Here, Parent, Seen};
use crate::linux::scratch::Scratch;
use crate::linux::sites::address;
use crate::redaction::Redactions;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Metadata};
use ttlog_format::record::Kind;
use ttlog_format::span::SpanId;

/// Records an event; `find` gives the recording's span for an id.
#[inline]
pub(crate) fn event(core: &Core, event: &Event<'_>, find: impl Fn(&Id) -> Option<SpanId>) {
    let metadata = event.metadata();
    let mut scratch = Scratch::new(metadata.fields().len());
    scratch.push(0);
    scratch.push(0);
    scratch.push(address(metadata));
    let explicit = event.parent().and_then(find);
    let explicit = explicit.filter(|&span| core.knows(span));
    let kind = match explicit {
        Some(span) => {
            scratch.push(span.to_u64());
            Kind::EventIn
        }
        None if event.is_contextual() => Kind::Event,
        None => Kind::EventRoot,
    };
    let seen = encode(core, &mut scratch, metadata, |visit| event.record(visit));
    match here(core, seen) {
        Some((here, seen)) => here.event(kind, &mut scratch, (metadata, seen), explicit),
        None => core.count_without_recording(),
    }
}

/// Opens a span; `find` gives the recording's span for an id.
#[inline]
pub(crate) fn open(
    core: &Core,
    attributes: &Attributes<'_>,
    find: impl Fn(&Id) -> Option<SpanId>,
) -> SpanId {
    let parent = if attributes.is_contextual() {
        Parent::Current
    } else {
        let parent = attributes.parent().and_then(find);
        Parent::Given(parent.filter(|&span| core.knows(span)))
    };
    let metadata = attributes.metadata();
    let mut scratch = Scratch::new(metadata.fields().len());
    [0, 0, address(metadata), 0, 0]
        .into_iter()
        .for_each(|word| scratch.push(word));
    let seen = encode(core, &mut scratch, metadata, |visit| {
        attributes.record(visit);
    });
    match here(core, seen) {
        Some((here, seen)) => here.open(&mut scratch, (metadata, seen), parent),
        None => core.elsewhere(metadata),
    }
}

/// Encodes values, but those that are redacted, and says how the call site is seen. Since
/// one look tells that nothing is redacted, what is not costs nothing more.
#[inline]
fn encode(
    core: &Core,
    scratch: &mut Scratch,
    metadata: &'static Metadata<'static>,
    record: impl Fn(&mut dyn Visit),
) -> Seen {
    if let Some(index) = core.plain(metadata) {
        record(scratch);
        return Seen::Plain(index);
    }
    let redactions = core.redactions(metadata);
    encode_some(core, scratch, Some(redactions), &record);
    Seen::With(redactions)
}

/// Encodes values of which some may be redacted.
#[cold]
fn encode_some(
    core: &Core,
    scratch: &mut Scratch,
    redactions: Option<Redactions>,
    record: &dyn Fn(&mut dyn Visit),
) {
    record(&mut Redacting {
        core,
        scratch,
        redactions,
    });
}

/// Where to record, and how the call site is seen there.
#[inline]
fn here(core: &Core, seen: Seen) -> Option<(Here<'_>, Seen)> {
    match core.own() {
        Some(here) => Some((here, seen)),
        None => Some((core.here()?, seen.elsewhere())),
    }
}

/// Records later values of a span.
pub(crate) fn values(core: &Core, span: SpanId, values: &Record<'_>) {
    // How many fields are still to come is not known here: none is reserved for.
    let mut scratch = Scratch::new(0);
    [0, 0, span.to_u64()]
        .into_iter()
        .for_each(|word| scratch.push(word));
    if core.spans.is_plain(span) {
        values.record(&mut scratch);
    } else {
        encode_some(core, &mut scratch, None, &|visit| values.record(visit));
    }
    if let Some(here) = core.here_for(span) {
        here.values(&mut scratch, span);
    }
}

/// Encodes the values of a call site of which something is redacted: of those there is no
/// more than that, and no code of theirs is run.
struct Redacting<'a> {
    core: &'a Core,
    scratch: &'a mut Scratch,
    /// `None` as long as the call site is not known: its fields know it.
    redactions: Option<Redactions>,
}

impl Redacting<'_> {
    fn unless_redacted(&mut self, field: &Field, record: impl FnOnce(&mut Scratch)) {
        let decide = || self.core.redactions(field.callsite().0.metadata());
        if self.redactions.get_or_insert_with(decide).has(field) {
            self.scratch.redacted(field);
        } else {
            record(self.scratch);
        }
    }
}

impl Visit for Redacting<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.unless_redacted(field, |scratch| scratch.record_f64(field, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.unless_redacted(field, |scratch| scratch.record_i64(field, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.unless_redacted(field, |scratch| scratch.record_u64(field, value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.unless_redacted(field, |scratch| scratch.record_i128(field, value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.unless_redacted(field, |scratch| scratch.record_u128(field, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.unless_redacted(field, |scratch| scratch.record_bool(field, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.unless_redacted(field, |scratch| scratch.record_str(field, value));
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.unless_redacted(field, |scratch| scratch.record_bytes(field, value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.unless_redacted(field, |scratch| scratch.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.unless_redacted(field, |scratch| scratch.record_debug(field, value));
    }
}
