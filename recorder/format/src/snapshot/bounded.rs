//! What a snapshot may take of a reader's memory, whatever it says.
//!
//! A few KiB may decompress to gigabytes, and a byte of CBOR be a structure of a hundred. So
//! lists are kept up to a length that no recorder reaches, items up to so many bytes, and
//! tables up to so many in all; what is beyond is passed over, and counted as missing.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::AnyItem;
use crate::cause::Cause;
use crate::incident::{Incident, Module};
use crate::salvage::{Span, Thread};
use crate::site::CallSite;
use crate::span::SpanId;
use crate::value::Field;

/// Bytes of CBOR of an item at most: a span into which thousands of values were recorded
/// has some hundred KiB.
pub(super) const ITEM_MAX: u64 = 4 << 20;

/// Bytes that all tables take at most.
pub(super) const TABLES_MAX: usize = 16 << 20;

/// What an entry of a map takes beside its key and its value.
const ENTRY_BYTES: usize = 64;

/// Takes a list up to its `N`th element, and passes over the rest.
pub(crate) fn at_most<'de, D, T, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(AtMost::<T, N>(PhantomData))
}

struct AtMost<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for AtMost<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < N {
            match list.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(kept),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }
}

/// What an item takes that is not an event, in bytes, about.
pub(super) fn bytes_of(item: &AnyItem) -> usize {
    let mut bytes = ENTRY_BYTES + size_of::<Cause>();
    bytes += item.thread.as_deref().map_or(0, of_thread);
    bytes += item.call_site.as_deref().map_or(0, of_site);
    bytes += item.span.as_deref().map_or(0, of_span);
    bytes + item.incident.as_deref().map_or(0, of_incident)
}

fn of_thread(thread: &Thread) -> usize {
    size_of::<Thread>() + thread.name.len() + of_list::<SpanId>(&thread.stack)
}

fn of_site(site: &CallSite) -> usize {
    let texts = site.name.len() + site.target.len() + site.file.len();
    let names = site.fields.iter().map(String::len).sum::<usize>();
    size_of::<CallSite>() + texts + names + of_list(&site.fields)
}

fn of_span(span: &Span) -> usize {
    let text = |field: &Field| field.value.text().map_or(0, |text| text.bytes.len());
    let texts = span.fields.iter().map(|(_, field)| text(field));
    size_of::<Span>() + texts.sum::<usize>() + of_list(&span.fields)
}

fn of_incident(incident: &Incident) -> usize {
    let module = |module: &Module| module.build_id.len() + module.name.len();
    let texts = incident.thread_name.len() + incident.message.len() + incident.location.len();
    let modules = incident.modules.iter().map(module).sum::<usize>();
    let symbols = incident.symbols.iter().map(String::len).sum::<usize>();
    size_of::<Incident>()
        + (texts + modules + symbols)
        + of_list(&incident.stack)
        + of_list(&incident.frames)
        + of_list(&incident.modules)
        + of_list(&incident.symbols)
}

fn of_list<T>(list: &[T]) -> usize {
    size_of_val(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_that_is_too_long_the_first_are_taken_and_what_follows_it() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Two {
            #[serde(deserialize_with = "at_most::<_, _, 2>")]
            list: Vec<u8>,
            behind: u8,
        }
        #[derive(serde::Serialize)]
        struct Any {
            list: Vec<u8>,
            behind: u8,
        }
        for (list, kept) in [
            (vec![], vec![]),
            (vec![1], vec![1]),
            (vec![1, 2, 3, 4], vec![1, 2]),
        ] {
            let mut bytes = Vec::new();
            ciborium::into_writer(&Any { list, behind: 9 }, &mut bytes).unwrap();
            let read: Two = ciborium::from_reader(&bytes[..]).unwrap();
            let two = Two {
                list: kept,
                behind: 9,
            };
            assert_eq!(read, two);
        }
    }
}
