//! What `tracing` hands over, as records: the part that both adapters share.

use crate::linux::core::{Core, Parent};
use crate::linux::scratch::Scratch;
use crate::linux::sites::address;
use tracing_core::Event;
use tracing_core::span::{Attributes, Id, Record};
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
    event.record(&mut scratch);
    match core.here() {
        Some(here) => here.event(kind, &mut scratch, metadata, explicit),
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
    attributes.record(&mut scratch);
    match core.here() {
        Some(here) => here.open(&mut scratch, metadata, parent),
        None => core.elsewhere(metadata),
    }
}

/// Records later values of a span.
pub(crate) fn values(core: &Core, span: SpanId, values: &Record<'_>) {
    // How many fields are still to come is not known here: none is reserved for.
    let mut scratch = Scratch::new(0);
    [0, 0, span.to_u64()]
        .into_iter()
        .for_each(|word| scratch.push(word));
    values.record(&mut scratch);
    if let Some(here) = core.here_for(span) {
        here.values(&mut scratch, span);
    }
}
