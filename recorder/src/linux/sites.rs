//! Call sites: which are known, and the blocks that describe them.
//!
//! A record names its call site by the address of its metadata; an event whose
//! address is not in the set takes the cold path that describes it first. The
//! set only grows. In it, too, is which fields are redacted: the address of a call site
//! that has such fields is marked, so that the one look which tells that a call site is
//! known tells as well that nothing of it is redacted. Descriptions are written by one thread at a time, under a
//! lock that is only ever tried; who does not get it describes the call site in
//! its own block and leaves the set as it is.
//!
//! Every description is kept twice, half a pool apart.

use std::sync::Mutex;

use crate::linux::open_block::OpenBlock;
use crate::linux::sync::{AtomicU64, Ordering, zeros};
use crate::redaction::Redactions;
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
    /// By the same places: what is redacted, of those that are marked.
    redactions: Box<[AtomicU64; KNOWN]>,
    pub(crate) writer: Mutex<Writer>,
}

/// The mark of an address, whose last bit is 0 without it.
const MARK: u64 = 1;

const _: () = assert!(align_of::<Metadata<'static>>() > 1);

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
            redactions: zeros(KNOWN)?.try_into().ok()?,
            writer: Mutex::new(Writer::default()),
        })
    }

    /// The index of a call site that is known to have nothing redacted, as far as one look
    /// tells.
    #[inline]
    pub(crate) fn plain(&self, metadata: &'static Metadata<'static>) -> Option<u16> {
        let address = address(metadata);
        let first = first_place(address);
        let is_plain = self.addresses[first].load(Ordering::Acquire) == address;
        is_plain.then_some(first as u16)
    }

    /// The index of a known call site.
    pub(crate) fn find(&self, metadata: &'static Metadata<'static>) -> Option<u16> {
        let address = address(metadata);
        places(address)
            .find(|&place| self.addresses[place].load(Ordering::Acquire) & !MARK == address)
            .map(|place| place as u16)
    }

    /// What is redacted of the call site with this index; `None` where there is none.
    #[inline]
    pub(crate) fn redactions(&self, index: u16) -> Option<Redactions> {
        let place = usize::from(index);
        match self.addresses.get(place)?.load(Ordering::Acquire) {
            0 => None,
            address if address & MARK == 0 => Some(Redactions::NONE),
            _ => {
                let mask = self.redactions[place].load(Ordering::Relaxed);
                Some(Redactions::from_u64(mask))
            }
        }
    }

    /// The metadata of the call site with this index.
    pub(crate) fn metadata(&self, index: u16) -> Option<&'static Metadata<'static>> {
        let address = self.addresses.get(usize::from(index))?;
        let address = (address.load(Ordering::Acquire) & !MARK) as usize;
        let metadata: *const Metadata<'static> = std::ptr::with_exposed_provenance(address);
        // SAFETY: null, or what `insert` has stored but for its mark, which alone stores
        // here: a reference that is static.
        unsafe { metadata.as_ref() }
    }

    /// Makes a call site known, under the writer's lock; `None` if the set has no
    /// place for it.
    pub(crate) fn insert(
        &self,
        metadata: &'static Metadata<'static>,
        redactions: Redactions,
    ) -> Option<u16> {
        let address = address(metadata);
        let is_free = |&place: &usize| self.addresses[place].load(Ordering::Relaxed) == 0;
        let place = places(address).find(is_free)?;
        let mark = if redactions.are_none() { 0 } else { MARK };
        self.redactions[place].store(redactions.to_u64(), Ordering::Relaxed);
        // Whoever sees the address sees what is redacted.
        self.addresses[place].store(address | mark, Ordering::Release);
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
    fn a_call_site_with_redactions_is_not_plain_and_is_found_all_the_same() {
        let sites = Sites::new().unwrap();
        let metadata = tracing::callsite! { name: "one", kind: Kind::EVENT, fields: a }.metadata();
        let redactions = Redactions::from_u64(1);
        let index = sites.insert(metadata, redactions).unwrap();
        assert_eq!(sites.plain(metadata), None);
        assert_eq!(sites.find(metadata), Some(index));
        assert_eq!(sites.redactions(index), Some(redactions));
        assert!(std::ptr::eq(sites.metadata(index).unwrap(), metadata));
        let others = (0..=u16::MAX).filter(|&other| other != index);
        assert_eq!(
            others.filter_map(|other| sites.redactions(other)).count(),
            0
        );
    }

    #[test]
    fn a_call_site_is_found_by_its_address_and_by_its_index() {
        let sites = Sites::new().unwrap();
        let all = [
            tracing::callsite! { name: "one", kind: Kind::EVENT, fields: a }.metadata(),
            tracing::callsite! { name: "other", kind: Kind::SPAN, fields: a, b }.metadata(),
        ];
        let indexes = all.map(|metadata| {
            assert_eq!(sites.find(metadata), None);
            sites.insert(metadata, Redactions::NONE).unwrap()
        });
        for (metadata, index) in all.into_iter().zip(indexes) {
            assert_eq!(sites.find(metadata), Some(index));
            assert_eq!(sites.redactions(index), Some(Redactions::NONE));
            let found = sites.metadata(index).unwrap();
            assert!(std::ptr::eq(found, metadata));
        }
        let others = (0..=u16::MAX).filter(|index| !indexes.contains(index));
        assert_eq!(others.filter_map(|index| sites.metadata(index)).count(), 0);
    }
}
