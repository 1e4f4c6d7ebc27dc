//! What was asked for: by the builder, and where it left something unset, by the
//! environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use ttlog_format::BLOCK_BYTES;
use ttlog_format::header::BLOCKS_MAX;
use ttlog_format::span::SLOTS_MAX;

use crate::error::Error;
use crate::policy::{Durability, Fork};
use crate::redaction::{Asked as Redact, NAMES_FORM};

/// Bytes of blocks, in MiB, when nobody said.
pub(crate) const CAPACITY_MIB: u32 = 10;
/// The most MiB of blocks.
pub(crate) const CAPACITY_MIB_MAX: u32 = 65536;
/// The window when nobody said.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// The filter when nobody said.
pub(crate) const FILTER: &str = "debug";
/// Slots of the span table when nobody said.
pub(crate) const SPAN_SLOTS: usize = 4096;

/// How many old recordings stay when nobody said, and how many bytes of them.
pub(crate) const RETAIN: (usize, u64) = (16, 512 * MIB);
/// The shortest interval at which a recording is written to its disk.
const SYNC_INTERVAL_MIN: Duration = Duration::from_millis(1);

const MIB: u64 = 1 << 20;

const _: () = assert!(CAPACITY_MIB_MAX as u64 * MIB / BLOCK_BYTES as u64 <= BLOCKS_MAX as u64);
const _: () = assert!(SLOTS_MAX <= u32::MAX as usize);

/// What a recording is to be like. What is `None` has its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Name of the service.
    pub(crate) name: Option<String>,
    /// Where the recording goes.
    pub(crate) directory: Option<PathBuf>,
    /// Bytes of blocks, in MiB.
    pub(crate) capacity_mib: Option<u32>,
    /// How much of the past a snapshot shows, and for how long the last words of a
    /// thread that has ended are protected.
    pub(crate) window: Option<Duration>,
    /// The filter, in the syntax of tracing-subscriber's `Targets`.
    pub(crate) filter: Option<String>,
    /// Which fields are redacted.
    pub(crate) redact: Redact,
    /// Slots of the span table.
    pub(crate) span_slots: Option<usize>,
    /// Where snapshots go.
    pub(crate) snapshot_directory: Option<PathBuf>,
    /// Whether panics are incidents.
    pub(crate) panic_hook: Option<bool>,
    /// Whether fatal signals are causes.
    pub(crate) fatal_signals: Option<bool>,
    /// Signals that ask for a snapshot.
    pub(crate) snapshot_on: Vec<i32>,
    /// Signals that end the process, after a snapshot.
    pub(crate) terminate_on: Vec<i32>,
    /// How many old recordings stay, and how many bytes of them.
    pub(crate) retain: Option<(usize, u64)>,
    /// What becomes of a forked child's events.
    pub(crate) fork: Option<Fork>,
    /// What the recording survives.
    pub(crate) durability: Option<Durability>,
    /// The process that this one was forked from and whose recorder it goes on with.
    pub(crate) forked_from: Option<u32>,
    /// Where temporary files go. Known at the start, since a forked child must not ask
    /// the environment, which another thread may have held when it was forked.
    pub(crate) temporary: PathBuf,
    /// Whether the environment switched the recorder off.
    pub(crate) off: bool,
}

impl Settings {
    /// Fills what is unset from `TTLOG_*`, unless the process runs with
    /// privileges that its caller does not have.
    ///
    /// # Errors
    /// A variable whose value is malformed, even where the builder's would win.
    pub(crate) fn with_environment(self) -> Result<Settings, Error> {
        let settings = self.filled_from(variable)?;
        // Once for all: a daemon changes its directory, and its children go by this.
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|error| Error::io("find", path, error))
        };
        Ok(Settings {
            directory: settings.directory.map(absolute).transpose()?,
            snapshot_directory: settings.snapshot_directory.map(absolute).transpose()?,
            temporary: absolute(settings.temporary)?,
            ..settings
        })
    }

    /// Whether directories are made that are not there. A forked child makes none: it
    /// may see other ones than its parent, which was asked to.
    pub(crate) fn makes_directories(&self) -> bool {
        self.forked_from.is_none()
    }

    fn filled_from(self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Error> {
        let text = |name, expected: &str| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(found)) => Err(Error::value(name, found.to_string_lossy(), expected)),
        };
        let parsed_capacity = parsed(text, "TTLOG_CAPACITY_MIB", &capacity_form(), capacity)?;
        let parsed_window = parsed(text, "TTLOG_WINDOW", WINDOW_FORM, duration)?;
        let off = parsed(text, "TTLOG", "on or off", switch)? == Some(false);
        let filter = text("TTLOG_FILTER", "a filter such as info,payments=debug")?;
        let redact = text("TTLOG_REDACT", NAMES_FORM)?;
        let redact = self.redact.or_environment(redact.as_deref());
        Ok(Settings {
            redact,
            directory: self
                .directory
                .or_else(|| variable("TTLOG_DIR").map(PathBuf::from)),
            snapshot_directory: self
                .snapshot_directory
                .or_else(|| variable("TTLOG_SNAPSHOT_DIR").map(PathBuf::from)),
            capacity_mib: self.capacity_mib.or(parsed_capacity),
            window: self.window.or(parsed_window),
            filter: self.filter.or(filter),
            temporary: variable("TMPDIR").map_or("/tmp".into(), PathBuf::from),
            off: self.off || off,
            ..self
        })
    }

    /// Bytes of blocks, whole blocks and at least 1 MiB of them.
    ///
    /// # Errors
    /// A capacity out of bounds.
    pub(crate) fn capacity_bytes(&self) -> Result<u64, Error> {
        let mib = self.capacity_mib.unwrap_or(CAPACITY_MIB);
        if !(1..=CAPACITY_MIB_MAX).contains(&mib) {
            return Err(Error::value(
                "capacity_mib",
                mib.to_string(),
                capacity_form(),
            ));
        }
        Ok(u64::from(mib) * MIB)
    }

    /// Slots of the span table.
    ///
    /// # Errors
    /// More slots than the format can count.
    pub(crate) fn span_slots(&self) -> Result<u32, Error> {
        let slots = self.span_slots.unwrap_or(SPAN_SLOTS);
        match u32::try_from(slots) {
            Ok(count) if slots <= SLOTS_MAX => Ok(count),
            _ => Err(Error::value(
                "span_slots",
                slots.to_string(),
                format!("0 to {SLOTS_MAX}"),
            )),
        }
    }

    /// The window in nanoseconds, as many as 64 bits hold.
    pub(crate) fn window_ns(&self) -> u64 {
        u64::try_from(self.window.unwrap_or(WINDOW).as_nanos()).unwrap_or(u64::MAX)
    }

    /// How often the recording is to be written to its disk; `None` if that is left to
    /// the kernel.
    ///
    /// # Errors
    /// An interval out of bounds.
    pub(crate) fn sync_interval(&self) -> Result<Option<Duration>, Error> {
        match self.durability.unwrap_or_default() {
            Durability::Process => Ok(None),
            Durability::Interval(interval) if interval < SYNC_INTERVAL_MIN => Err(Error::value(
                "durability",
                format!("an interval of {interval:?}"),
                format!("at least {SYNC_INTERVAL_MIN:?}"),
            )),
            Durability::Interval(interval) => Ok(Some(interval)),
        }
    }

    /// The filter's text.
    pub(crate) fn filter(&self) -> &str {
        self.filter.as_deref().unwrap_or(FILTER)
    }
}

/// An environment variable, `None` if it is unset or empty, or if the process
/// runs with privileges that its caller, who set it, does not have.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    if secure_execution() {
        return None;
    }
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether the process was started set-user-id or with more capabilities than
/// its caller has (`AT_SECURE`, getauxval(3)), so that the environment is not
/// to be believed.
#[cfg(target_os = "linux")]
pub(crate) fn secure_execution() -> bool {
    // SAFETY: getauxval takes any number, reads what the kernel gave the process
    // at its start and nobody changes, and returns 0 for what it does not have.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Elsewhere nothing is recorded and nothing is to be guarded.
#[cfg(not(target_os = "linux"))]
pub(crate) fn secure_execution() -> bool {
    false
}

fn parsed<T>(
    text: impl Fn(&'static str, &str) -> Result<Option<String>, Error>,
    name: &'static str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(found) = text(name, expected)? else {
        return Ok(None);
    };
    match parse(found.trim()) {
        Some(value) => Ok(Some(value)),
        None => Err(Error::value(name, found, expected)),
    }
}

fn capacity_form() -> String {
    format!("1 to {CAPACITY_MIB_MAX} MiB")
}

fn capacity(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|mib| (1..=CAPACITY_MIB_MAX).contains(mib))
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

const WINDOW_FORM: &str = "a number and a unit, such as 500ms, 5s or 2m";

/// A whole number and its unit: ms, s, m or h.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::default().filled_from(lookup(pairs))
    }

    fn lookup(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        }
    }

    #[test]
    fn the_environment_fills_what_is_unset() {
        let pairs = [
            ("TTLOG_DIR", "/var/x"),
            ("TTLOG_SNAPSHOT_DIR", "/var/y"),
            ("TTLOG_CAPACITY_MIB", "3"),
            ("TTLOG_WINDOW", "500ms"),
            ("TTLOG_FILTER", "info"),
            ("TTLOG_REDACT", "iban"),
            ("TTLOG", "off"),
        ];
        let settings = environment(&pairs).unwrap();
        assert_eq!(settings.directory, Some("/var/x".into()));
        assert_eq!(settings.snapshot_directory, Some("/var/y".into()));
        assert_eq!(settings.capacity_bytes().unwrap(), 3 << 20);
        assert_eq!(settings.window_ns(), 500_000_000);
        assert_eq!(settings.filter(), "info");
        assert_eq!(settings.redact.names.unwrap().denied, ["iban"]);
        assert!(settings.off);
    }

    #[test]
    fn the_builder_wins_over_the_environment() {
        let built = Settings {
            capacity_mib: Some(7),
            ..Settings::default()
        };
        let settings = built
            .filled_from(lookup(&[("TTLOG_CAPACITY_MIB", "3")]))
            .unwrap();
        assert_eq!(settings.capacity_mib, Some(7));
    }

    #[test]
    fn nothing_said_means_the_defaults() {
        let settings = environment(&[]).unwrap();
        assert_eq!(settings.capacity_bytes().unwrap(), 10 << 20);
        assert_eq!(settings.span_slots().unwrap(), 4096);
        assert_eq!(settings.window_ns(), 5_000_000_000);
        assert_eq!(settings.filter(), "debug");
        assert!(!settings.off && settings.directory.is_none());
    }

    #[test]
    fn malformed_values_are_named() {
        for (name, value) in [
            ("TTLOG_CAPACITY_MIB", "0"),
            ("TTLOG_CAPACITY_MIB", "65537"),
            ("TTLOG_CAPACITY_MIB", "ten"),
            ("TTLOG_WINDOW", "5"),
            ("TTLOG_WINDOW", "s"),
            ("TTLOG_WINDOW", "1.5s"),
            ("TTLOG_WINDOW", "99999999999999999999h"),
            ("TTLOG_WINDOW", "5ü"),
            ("TTLOG", "perhaps"),
        ] {
            let text = environment(&[(name, value)]).unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("{name} is {value:?} (expected ")),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_out_of_bounds_are_errors() {
        let with = |capacity_mib, span_slots| Settings {
            capacity_mib: Some(capacity_mib),
            span_slots: Some(span_slots),
            ..Settings::default()
        };
        assert!(with(0, 0).capacity_bytes().is_err());
        assert!(with(CAPACITY_MIB_MAX + 1, 0).capacity_bytes().is_err());
        assert_eq!(with(1, 0).span_slots().unwrap(), 0);
        assert_eq!(with(1, SLOTS_MAX).span_slots().unwrap() as usize, SLOTS_MAX);
        assert!(with(1, SLOTS_MAX + 1).span_slots().is_err());
    }

    #[test]
    fn windows_have_units() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("250 ms"), Some(Duration::from_millis(250)));
    }
}
