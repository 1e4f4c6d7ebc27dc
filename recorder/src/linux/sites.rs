//! Call sites: which are known, and the blocks that describe them.
//!
//! A record names its call site by the address of its metadata; an event whose
//! address is not in the set takes the cold path that describes it first. The
//! set only grows. Descriptions are written by one thread at a time, under a
//! lock that is only ever tried; who does not get it describes the call site in
//! its own block and leaves the set as it is.
//!
//! Every description is kept twice, half a pool apart.

use std::sync::Mutex;

use crate::linux::open_block::OpenBlock;
use crate::linux::sync::{AtomicU64, Ordering, zeros};
use tracing_core::{Level, Metadata};
use ttlog_format::site::{self, Parts};
use ttlog_format::{RECORD_MAX_WORDS, site::LOG, site::SPAN};

/// The most call sites that are known; a power of two.
const KNOWN: usize = 8192;

/// How many places a lookup tries.
const PROBES: usize = 16;

/// Which call sites are known.
pub(crate) struct Sites {
    /// Those of metadata that is static; 0 where there is none.
    addresses: Box<[AtomicU64; KNOWN]>,
    pub(crate) writer: Mutex<Writer>,
}

/// The two blocks that the next description goes to.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) copies: Option<[OpenBlock; 2]>,
    /// Blocks taken so far, of both copies.
    pub(crate) blocks: usize,
}

impl Sites {
    /// No call site; `None` where memory does not suffice.
    pub(crate) fn new() -> Option<Sites> {
        Some(Sites {
            addresses: zeros(KNOWN)?.try_into().ok()?,
            writer: Mutex::new(Writer::default()),
        })
    }

    /// Whether a call site is known, as far as one look tells.
    #[inline]
    pub(crate) fn knows(&self, metadata: &'static Metadata<'static>) -> bool {
        let address = address(metadata);
        self.addresses[first_place(address)].load(Ordering::Acquire) == address
    }

    /// The index of a known call site.
    #[inline]
    pub(crate) fn find(&self, metadata: &'static Metadata<'static>) -> Option<u16> {
        let address = address(metadata);
        let first = first_place(address);
        if self.addresses[first].load(Ordering::Acquire) == address {
            return Some(first as u16);
        }
        self.find_further(address)
    }

    #[cold]
    fn find_further(&self, address: u64) -> Option<u16> {
        places(address)
            .find(|&place| self.addresses[place].load(Ordering::Acquire) == address)
            .map(|place| place as u16)
    }

    /// The metadata of the call site with this index.
    pub(crate) fn metadata(&self, index: u16) -> Option<&'static Metadata<'static>> {
        let address = self.addresses.get(usize::from(index))?;
        let address = address.load(Ordering::Acquire) as usize;
        let metadata: *const Metadata<'static> = std::ptr::with_exposed_provenance(address);
        // SAFETY: null, or what `insert` has stored, which alone stores here: a reference
        // that is static.
        unsafe { metadata.as_ref() }
    }

    /// Makes a call site known, under the writer's lock; `None` if the set has no
    /// place for it.
    pub(crate) fn insert(&self, metadata: &'static Metadata<'static>) -> Option<u16> {
        let address = address(metadata);
        let is_free = |&place: &usize| self.addresses[place].load(Ordering::Relaxed) == 0;
        let place = places(address).find(is_free)?;
        self.addresses[place].store(address, Ordering::Release);
        Some(place as u16)
    }
}

/// What a record names a call site by.
#[inline]
pub(crate) fn address(metadata: &'static Metadata<'static>) -> u64 {
    std::ptr::from_ref(metadata) as u64
}

#[inline]
fn first_place(address: u64) -> usize {
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51) as usize
}

fn places(address: u64) -> impl Iterator<Item = usize> {
    let first = first_place(address);
    (first..first + PROBES).map(|place| place % KNOWN)
}

/// Encodes the description of a call site and returns its length in words.
pub(crate) fn encode(
    metadata: &'static Metadata<'static>,
    ticks: u64,
    words: &mut [u64; RECORD_MAX_WORDS],
) -> usize {
    let level = match *metadata.level() {
        Level::ERROR => site::Level::Error,
        Level::WARN => site::Level::Warn,
        Level::INFO => site::Level::Info,
        Level::DEBUG => site::Level::Debug,
        Level::TRACE => site::Level::Trace,
    };
    let is_log = metadata.target() == "log" && metadata.fields().field("log.target").is_some();
    let parts = Parts {
        address: address(metadata),
        level,
        flags: if metadata.is_span() { SPAN } else { 0 } | if is_log { LOG } else { 0 },
        name: metadata.name(),
        target: metadata.target(),
        file: metadata.file().unwrap_or(""),
        line: metadata.line().unwrap_or(0),
        fields: metadata.fields().iter().map(|field| field.name()),
    };
    site::encode(parts, ticks, words)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use tracing::callsite::Callsite as _;
    use tracing::metadata::Kind;

    #[test]
    fn a_call_site_is_found_by_its_address_and_by_its_index() {
        let sites = Sites::new().unwrap();
        let all = [
            tracing::callsite! { name: "one", kind: Kind::EVENT, fields: a }.metadata(),
            tracing::callsite! { name: "other", kind: Kind::SPAN, fields: a, b }.metadata(),
        ];
        let indexes = all.map(|metadata| {
            assert_eq!(sites.find(metadata), None);
            sites.insert(metadata).unwrap()
        });
        for (metadata, index) in all.into_iter().zip(indexes) {
            assert_eq!(sites.find(metadata), Some(index));
            let found = sites.metadata(index).unwrap();
            assert!(std::ptr::eq(found, metadata));
        }
        let others = (0..=u16::MAX).filter(|index| !indexes.contains(index));
        assert_eq!(others.filter_map(|index| sites.metadata(index)).count(), 0);
    }
}
