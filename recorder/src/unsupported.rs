//! Where nothing can be recorded: the same names, of which there is never a value.
//!
//! A program compiles here as it does on Linux, and finds out at its start.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::settings::Settings;
use crate::stats::Stats;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Metadata};
use tracing_subscriber::registry::LookupSpan;

pub(crate) fn init(_: Settings) -> Result<Recorder, Error> {
    Err(Error::unsupported())
}

pub(crate) fn create(_: Settings) -> Result<Recorder, Error> {
    Err(Error::unsupported())
}

pub(crate) fn flush_snapshot(_: &str) -> Result<PathBuf, Error> {
    Err(Error::unsupported())
}

/// A recorder; on this target there is none.
#[derive(Clone, Debug)]
#[must_use = "its adapters are what records"]
pub struct Recorder(Infallible);

impl Recorder {
    /// The recording's file.
    pub fn path(&self) -> &Path {
        match self.0 {}
    }

    /// A layer for any registry, with the recorder's filter in front of it.
    pub fn layer<S>(&self) -> Layer<S>
    where
        S: tracing_core::Subscriber + for<'a> LookupSpan<'a>,
    {
        match self.0 {}
    }

    /// A subscriber that does nothing but record.
    pub fn subscriber(&self) -> Subscriber {
        match self.0 {}
    }

    /// Writes a snapshot and gives its path.
    ///
    /// # Errors
    /// There is no recorder to call it on.
    pub fn flush_snapshot(&self, _: &str) -> Result<PathBuf, Error> {
        match self.0 {}
    }

    /// What was recorded so far, and what was not.
    pub fn stats(&self) -> Stats {
        match self.0 {}
    }
}

/// Records what comes through a `tracing_subscriber` registry.
#[derive(Debug)]
pub struct Layer<S>(Infallible, PhantomData<fn(S)>);

impl<S> tracing_subscriber::Layer<S> for Layer<S> where
    S: tracing_core::Subscriber + for<'a> LookupSpan<'a>
{
}

/// Records all that its recorder's filter lets through.
#[derive(Debug)]
pub struct Subscriber(Infallible);

impl tracing_core::Subscriber for Subscriber {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        match self.0 {}
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        match self.0 {}
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        match self.0 {}
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        match self.0 {}
    }

    fn event(&self, _: &Event<'_>) {
        match self.0 {}
    }

    fn enter(&self, _: &Id) {
        match self.0 {}
    }

    fn exit(&self, _: &Id) {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_program_finds_out_at_its_start() {
        for error in [
            crate::init().unwrap_err(),
            crate::builder().create().unwrap_err(),
            crate::flush_snapshot("why").unwrap_err(),
        ] {
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().starts_with("nothing can be recorded on "));
        }
    }
}
