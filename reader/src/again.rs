//! What is said again: words that many lines have in common, written once.
//!
//! Nothing here says anything of its own. Words of what is known once and for all are
//! kept as long as lines are written, and those of spans for the time in which the spans
//! had the same fields, and until more of the recording is told.

use std::ops::RangeInclusive;

use ttlog_format::salvage::{Recording, Span};
use ttlog_format::site::CallSite;
use ttlog_format::span::SpanId;

use crate::allowance::Allowance;
use crate::shown::{ShownSpan, brief, name_of, shown_span};

/// Places for what was made last, so many that few lines make anew what another has
/// made before.
const PLACES: usize = 256;

/// Bytes about spans that are kept for another line: a hostile recording has spans in
/// spans without end, and is not to fill the memory with what is said of them.
const KEPT_BYTES: usize = 8 << 10;

/// What was last made for each of some numbers.
pub(crate) struct Again<T> {
    places: Vec<Option<(u64, T)>>,
}

impl<T> Default for Again<T> {
    fn default() -> Again<T> {
        let places = (0..PLACES).map(|_| None).collect();
        Again { places }
    }
}

impl<T> Again<T> {
    /// What was made for `number`, made anew if it is not there or not good any more.
    #[inline]
    pub(crate) fn get(
        &mut self,
        number: u64,
        is_good: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> &mut T {
        // The odd number of the golden ratio spreads what counts up, or is aligned.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let place = &mut self.places[spread as usize % PLACES];
        if let Some((known, made)) = place
            && !(*known == number && is_good(made))
        {
            *place = None;
        }
        &mut place.get_or_insert_with(|| (number, make())).1
    }

    /// Forgets what was made.
    pub(crate) fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }
}

/// The words of a second, for the moments in it.
#[derive(Default)]
pub(crate) struct Second {
    of: Option<u64>,
    words: String,
}

impl Second {
    /// Appends the words of the second that `wall_ns` is in.
    #[inline]
    pub(crate) fn push(
        &mut self,
        out: &mut Vec<u8>,
        wall_ns: u64,
        make: impl FnOnce(u64) -> String,
    ) {
        let second = wall_ns / 1_000_000_000;
        if self.of != Some(second) {
            self.words = make(wall_ns);
            self.of = Some(second);
        }
        out.extend_from_slice(self.words.as_bytes());
    }
}

/// Appends the last `N` decimal digits of `number`.
#[inline]
pub(crate) fn push_digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// What a field is to a line for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is the message.
    Message,
    /// It is shown under its name.
    Field,
    /// It says where a record of `log` comes from.
    Place,
}

/// What is said of all that comes from a call site.
pub(crate) struct Words {
    /// Whether the call site is known.
    pub(crate) is_known: bool,
    /// What comes before the fields.
    pub(crate) head: Vec<u8>,
    names: Vec<Name>,
    push_name: fn(&mut Vec<u8>, &str),
}

/// The name of a field.
pub(crate) struct Name {
    /// What comes before the value.
    pub(crate) words: Vec<u8>,
    /// What the field is.
    pub(crate) role: Role,
    /// The first index of the same name: a name is given once, unless it was lost.
    pub(crate) first: u8,
}

impl Words {
    /// The names of a call site's fields, as `push_name` writes them.
    pub(crate) fn new(site: Option<&CallSite>, push_name: fn(&mut Vec<u8>, &str)) -> Words {
        let known = site.map_or(0, |site| site.fields.len());
        let is_log = site.is_some_and(|site| site.is_log);
        let mut words = Words {
            is_known: site.is_some(),
            head: Vec::new(),
            names: Vec::new(),
            push_name,
        };
        for index in (0..=u8::MAX).take(known) {
            words.add(&name_of(site, index), is_log);
        }
        words
    }

    /// The name of the field with this index; a number where the name is not known.
    #[inline]
    pub(crate) fn name(&mut self, index: u8) -> &Name {
        while self.names.len() <= usize::from(index) {
            self.add(&name_of(None, self.names.len() as u8), false);
        }
        &self.names[usize::from(index)]
    }

    fn add(&mut self, name: &str, is_log: bool) {
        let mut words = Vec::new();
        (self.push_name)(&mut words, name);
        let role = match name {
            "message" => Role::Message,
            "log.target" | "log.file" | "log.line" | "log.module_path" if is_log => Role::Place,
            _ => Role::Field,
        };
        let same = self.names.iter().position(|known| known.words == words);
        let first = same.unwrap_or(self.names.len()) as u8;
        self.names.push(Name { words, role, first });
    }
}

/// What is said of the spans that an entry is in.
pub(crate) struct Around {
    /// While the spans have the fields that they have here, nanoseconds since 1970.
    lasts: RangeInclusive<u64>,
    words: Vec<u8>,
}

impl Around {
    /// What `push` writes of a span and its parents, outermost first, as they were at
    /// `wall_ns`; it is told whether parents are missing.
    pub(crate) fn new(
        recording: &Recording,
        innermost: SpanId,
        wall_ns: u64,
        push: fn(&mut Vec<u8>, &[ShownSpan<'_>], bool),
    ) -> Around {
        let context = recording.context(Some(innermost));
        let missing = context
            .first()
            .is_none_or(|(_, outermost)| outermost.parent.is_some());
        let mut lasts = 0..=u64::MAX;
        let mut spans = Vec::with_capacity(context.len());
        for (_, span) in context {
            lasts = narrowed(lasts, span, wall_ns);
            spans.push(shown_span(recording, span, wall_ns));
        }
        let mut words = Vec::with_capacity(128);
        push(&mut words, &spans, missing);
        Around { lasts, words }
    }

    /// The least of it, see [`brief`].
    pub(crate) fn brief(
        recording: &Recording,
        innermost: SpanId,
        push: fn(&mut Vec<u8>, &[ShownSpan<'_>], bool),
    ) -> Around {
        let spans: Vec<_> = brief(recording, Some(innermost)).into_iter().collect();
        let mut words = Vec::new();
        push(&mut words, &spans, true);
        let lasts = 0..=u64::MAX;
        Around { lasts, words }
    }

    /// How many bytes it says.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether nothing of it was otherwise at `wall_ns`.
    #[inline]
    pub(crate) fn lasts_at(&self, wall_ns: u64) -> bool {
        self.lasts.contains(&wall_ns)
    }

    /// Appends what is said, and forgets it if it is long.
    #[inline]
    pub(crate) fn push_to(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.words);
        if self.words.len() > KEPT_BYTES {
            self.words = Vec::new();
            self.lasts = RangeInclusive::new(1, 0);
        }
    }
}

/// What was last said of spans around entries, and how much more may be.
#[derive(Default)]
pub(crate) struct Arounds {
    again: Again<Around>,
    allowance: Allowance,
}

impl Arounds {
    /// Appends what `push` writes of a span and its parents, see [`Around::new`], as far as
    /// that may be said.
    #[inline]
    pub(crate) fn push_around(
        &mut self,
        out: &mut Vec<u8>,
        recording: &Recording,
        innermost: SpanId,
        wall_ns: u64,
        push: fn(&mut Vec<u8>, &[ShownSpan<'_>], bool),
    ) {
        if !self.allowance.next() {
            Around::brief(recording, innermost, push).push_to(out);
            return;
        }
        let is_good = |around: &Around| around.lasts_at(wall_ns);
        let mut made = 0;
        let around = self.again.get(innermost.to_u64(), is_good, || {
            let around = Around::new(recording, innermost, wall_ns, push);
            made = around.len();
            around
        });
        self.allowance.spend(around.len() + made);
        around.push_to(out);
    }

    /// How much more may be said.
    pub(crate) fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }

    /// Forgets what was made.
    pub(crate) fn forget(&mut self) {
        self.again.forget();
    }
}

/// The part of a time around `wall_ns` in which `span` was given no value.
fn narrowed(time: RangeInclusive<u64>, span: &Span, wall_ns: u64) -> RangeInclusive<u64> {
    let (mut from, mut to) = time.into_inner();
    for &(recorded_ns, _) in &span.fields {
        if recorded_ns <= span.opened_ns {
            // It had that all along.
        } else if recorded_ns <= wall_ns {
            from = from.max(recorded_ns);
        } else {
            to = to.min(recorded_ns - 1);
        }
    }
    from..=to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_a_place_is_never_taken_for_another() {
        let mut again = Again::default();
        let mut made = 0;
        for number in (0..4 * PLACES as u64).flat_map(|number| [number, number / 2, number]) {
            let found = *again.get(
                number,
                |_| true,
                || {
                    made += 1;
                    number
                },
            );
            assert_eq!(found, number);
        }
        assert!((4 * PLACES..12 * PLACES).contains(&made), "{made}");
    }

    #[test]
    fn what_is_long_is_said_and_forgotten() {
        for (len, kept) in [(KEPT_BYTES, true), (KEPT_BYTES + 1, false)] {
            let (lasts, words) = (0..=u64::MAX, vec![b'x'; len]);
            let mut around = Around { lasts, words };
            let mut out = Vec::new();
            around.push_to(&mut out);
            assert_eq!(out.len(), len);
            assert_eq!(
                (around.lasts_at(1), around.words.capacity() > 0),
                (kept, kept)
            );
        }
    }

    #[test]
    fn digits_are_as_many_as_were_asked_for() {
        let mut out = Vec::new();
        push_digits::<3>(&mut out, 7);
        push_digits::<3>(&mut out, 1_042);
        push_digits::<9>(&mut out, 999_999_999);
        assert_eq!(out, b"007042999999999");
    }
}
