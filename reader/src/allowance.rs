//! How much may be said of the spans around entries: a hostile recording has a thousand
//! spans around each, with values by the hundred, and is not to become a thousand times as
//! much of text. Whoever records what programs do never comes near it.

/// Bytes that are said without asking.
const AT_FIRST: i64 = 32 << 20;

/// Bytes that every entry adds, said or not.
const AN_ENTRY: i64 = 1 << 10;

/// What may still be said of spans.
#[derive(Debug)]
pub(crate) struct Allowance(i64);

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance(AT_FIRST)
    }
}

impl Allowance {
    /// Goes on to the next entry, and tells whether all that is known of the spans around it
    /// may be said; else it is the name of the innermost.
    #[inline]
    pub(crate) fn next(&mut self) -> bool {
        self.0 = self.0.saturating_add(AN_ENTRY).min(AT_FIRST);
        self.0 > 0
    }

    /// Takes what was said, or made to be said. More than what is left is a debt.
    #[inline]
    pub(crate) fn spend(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0 = self.0.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_paid_for_by_entries() {
        let mut allowance = Allowance::default();
        assert!(allowance.next());
        allowance.spend(AT_FIRST as usize + 2 * AN_ENTRY as usize);
        let denied = (0..10).take_while(|_| !allowance.next()).count();
        assert_eq!(denied, 2);
        allowance.spend(usize::MAX);
        assert!(!allowance.next());
    }
}
