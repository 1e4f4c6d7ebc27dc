//! The message of an event, behind the `Debug` as which `tracing` hands it over.
//!
//! A message is always an [`Arguments`], most often of a mere text, and arrives at
//! [`Visit::record_debug`] like any other value. What it says could only be had by two
//! rounds of formatting machinery, a sixth of what the shortest event costs. So it is told
//! by its vtable, which is that of a message that `tracing` was given to hand over at the
//! start. A message that comes with another vtable is formatted like any other value.

use std::fmt::{Arguments, Debug};
use std::sync::OnceLock;

use tracing_core::callsite::Callsite;
use tracing_core::field::{Field, Value, Visit};
use tracing_core::metadata::Kind;
use tracing_core::{Interest, Level, Metadata};

/// A message as it was handed over. It lies nowhere any more.
struct HandedOver(*const dyn Debug);

// SAFETY: nothing is reached by this address, whoever has it.
unsafe impl Send for HandedOver {}
// SAFETY: as above.
unsafe impl Sync for HandedOver {}

static HANDED_OVER: OnceLock<HandedOver> = OnceLock::new();

/// Has `tracing` hand a message over, so that others are recognised.
pub(crate) fn prepare() {
    struct Keep;
    impl Visit for Keep {
        fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
            // SAFETY: an address and a vtable, whatever lifetime goes with them.
            let value: *const (dyn Debug + 'static) =
                unsafe { std::mem::transmute(std::ptr::from_ref(value)) };
            let _ = HANDED_OVER.set(HandedOver(value));
        }
    }
    if let Some(field) = METADATA.fields().field("message") {
        format_args!("").record(&field, &mut Keep);
    }
}

/// The message that `value` is, if it is seen to be one.
#[inline]
pub(crate) fn message(value: &dyn Debug) -> Option<Arguments<'_>> {
    let handed_over = HANDED_OVER.get()?.0;
    let value = std::ptr::from_ref(value);
    // What a message would be that lies where the value does: the same but for a vtable.
    let message = handed_over.wrapping_byte_add(value.addr().wrapping_sub(handed_over.addr()));
    let is_message = std::ptr::eq(value, message);
    // SAFETY: the value's vtable is a message's, so that to format it is to call the `fmt` of
    // `Arguments`, with this address. Were the vtable that of other types too, which the
    // compiler may have it be, then of such as lie there in the same way: that function would
    // take them for `Arguments`, as this does.
    is_message.then(|| unsafe { *value.cast::<Arguments<'_>>() })
}

struct Site;

static METADATA: Metadata<'static> = tracing_core::metadata! {
    name: "message",
    target: "ttlog",
    level: Level::TRACE,
    fields: &["message"],
    callsite: &Site,
    kind: Kind::EVENT
};

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {}
    fn metadata(&self) -> &Metadata<'_> {
        &METADATA
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fmt;
    use std::sync::{Arc, Mutex};
    use tracing_core::Event;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry;

    /// Of every value that is formatted: whether it is a mere text, if it is seen to be a
    /// message, and its name.
    type Seen = Vec<(Option<bool>, &'static str)>;

    #[derive(Clone, Default)]
    struct Look(Arc<Mutex<Seen>>);

    impl<S: tracing_core::Subscriber> Layer<S> for Look {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            event.record(&mut &*self);
        }
    }

    impl Visit for &Look {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let message = message(value);
            if let Some(message) = message {
                assert_eq!(format!("{message}"), format!("{value:?}"));
            }
            let is_mere_text = message.map(|message| message.as_str().is_some());
            self.0.lock().unwrap().push((is_mere_text, field.name()));
        }
    }

    /// Lies where it does like a message, but says something else.
    struct Alike<'a>(#[expect(dead_code, reason = "only its size counts")] Arguments<'a>);

    impl Debug for Alike<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("alike")
        }
    }

    #[test]
    fn messages_are_recognised_and_nothing_else_is() {
        prepare();
        let look = Look::default();
        tracing::subscriber::with_default(registry().with(look.clone()), || {
            tracing::info!("a text");
            tracing::info!("with {}", std::process::id());
            let alike = Alike(format_args!("a text"));
            tracing::info!(?alike, some = ?Some(1), pair = ?("a", 1), "");
            tracing::info!(shown = %format_args!("a text"));
        });
        let seen = look.0.lock().unwrap();
        let expected = [
            (Some(true), "message"),
            (Some(false), "message"),
            (Some(true), "message"),
            (None, "alike"),
            (None, "some"),
            (None, "pair"),
        ];
        assert_eq!(seen[..6], expected);
        // One that is wrapped may share a message's vtable, and is one then.
        assert_eq!((seen[6].1, seen.len()), ("shown", 7));
    }
}
