//! What came of a matrix of cases.

/// How many cases there were, and what was wrong.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many times something was looked at.
    pub cases: usize,
    /// What was not as it should be.
    pub failures: Vec<String>,
}

impl Outcome {
    /// Counts a case, and says what is wrong if it does not hold.
    pub fn expect(&mut self, holds: bool, words: impl FnOnce() -> String) {
        self.cases += 1;
        if !holds {
            self.failures.push(words());
        }
    }
}
