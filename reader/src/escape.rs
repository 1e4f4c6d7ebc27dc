//! The one door between a recording and a terminal.
//!
//! What a recording says was chosen by whoever the process spoke to, and may be
//! an attack on the terminal that shows it: a control sequence, a second line, a
//! text that runs backwards. All of it comes out visible and harmless.

use std::io::Write;

/// Whether a terminal, or the eye, could be misled by `c`.
///
/// Controls (C0, DEL, C1), separators of lines and paragraphs, and what is there without
/// being seen: it changes the direction of text, joins, selects, fills, tags, or is ignored
/// where it is not known. In Unicode's terms: the categories Cc, Cf, Zl and Zp, and
/// Default_Ignorable_Code_Point. What is put upon the character before it is not among
/// them: words of many languages need it.
pub(crate) fn is_hazard(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The text of `bytes` as it may be shown on a terminal: hazards and bytes that
/// are no UTF-8 are escaped as Rust would escape them.
///
/// ```
/// let text = "user \u{1b}[2J\r\n".as_bytes();
/// assert_eq!(ttlog_reader::escape(text), r"user \x1b[2J\r\n");
/// ```
pub fn escape(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    push_escaped(&mut out, bytes);
    text(out)
}

/// The text of `bytes` between quotes, like the `Debug` of a string.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    push_quoted(&mut out, bytes);
    text(out)
}

/// What was pushed, which is UTF-8.
pub(crate) fn text(pushed: Vec<u8>) -> String {
    String::from_utf8(pushed)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Appends the text of `bytes` as [`escape`] gives it.
#[inline]
pub(crate) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        push(out, bytes, false);
    }
}

/// Appends the text of `bytes` between quotes, like the `Debug` of a string.
#[inline]
pub(crate) fn push_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        push(out, bytes, true);
    }
    out.push(b'"');
}

/// Whether `bytes` are printable ASCII without quotes and backslashes, so that nobody
/// escapes any of them: most texts are, and it is found out eight at a time.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    for (to, &from) in last.iter_mut().zip(rest) {
        *to = from;
    }
    let words = words.iter().chain([&last]);
    words.fold(0, |odd, &word| odd | odd_bytes(u64::from_ne_bytes(word))) == 0
}

/// A high bit for some byte of `word` that is not plain, and none if all are.
#[inline]
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // A byte below n borrows from its high bit; one that is 0 is below 1. What is
    // borrowed from a byte further up changes nothing: a high bit is there by then.
    let below = |word: u64, n: u8| word.wrapping_sub(ONES * u64::from(n)) & !word;
    let same = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | same(b'"') | same(b'\\') | same(0x7f) | word) & HIGH
}

fn push(out: &mut Vec<u8>, bytes: &[u8], quoted: bool) {
    let escaped = |c: char| is_hazard(c) || (quoted && matches!(c, '"' | '\\'));
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| escaped(c)) {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            push_hazard(out, c);
            rest = &rest[at + c.len_utf8()..];
        }
        out.extend_from_slice(rest.as_bytes());
        for byte in chunk.invalid() {
            push_hex(out, *byte);
        }
    }
}

fn push_hazard(out: &mut Vec<u8>, c: char) {
    match c {
        '"' | '\\' => out.extend([b'\\', c as u8]),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        '\0'..='\x7f' => push_hex(out, c as u8),
        // Writing to memory cannot fail.
        _ => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
    }
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{any_byte, encoded, misleading};

    #[test]
    fn of_all_code_points_none_that_misleads_comes_through() {
        let forbidden = misleading();
        for point in 0..0x11_0000 {
            let bytes = encoded(point);
            let out = escape(&bytes);
            assert!(!forbidden.is_match(&out), "{point:#x}: {out:?}");
            if let Some(c) = char::from_u32(point) {
                let is_forbidden = forbidden.is_match(&c.to_string());
                assert_eq!(is_hazard(c), is_forbidden, "{point:#x}");
            }
            match char::from_u32(point) {
                Some(c) if !is_hazard(c) => assert_eq!(out, c.to_string()),
                _ => assert!(
                    out.starts_with('\\') && out.is_ascii(),
                    "{point:#x}: {out:?}"
                ),
            }
        }
    }

    #[test]
    fn escapes_are_those_of_rust() {
        assert_eq!(escape(b"a\n\t\r\x1b[31m\0"), r"a\n\t\r\x1b[31m\x00");
        assert_eq!(escape("x\u{202e}y\u{9b}".as_bytes()), r"x\u{202e}y\u{9b}");
        assert_eq!(escape(b"caf\xc3\xa9 \xff\xc3"), r"café \xff\xc3");
        assert_eq!(escape(br"C:\new"), r"C:\new");
    }

    #[test]
    fn a_quoted_text_cannot_end_its_quotes() {
        assert_eq!(quoted(br#"a" b\"#), r#""a\" b\\""#);
    }

    #[test]
    fn every_byte_that_is_not_plain_is_found_wherever_it_is() {
        for byte in 0..=u8::MAX {
            let plain = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
            for len in 1..=24 {
                for at in 0..len {
                    for around in [b' ', b'!', b'~'] {
                        let mut bytes = vec![around; len];
                        bytes[at] = byte;
                        assert_eq!(is_plain(&bytes), plain, "{bytes:?}");
                    }
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn no_bytes_get_through_as_a_control() {
        let (forbidden, mut state) = (misleading(), 1u64);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..16).map(|_| any_byte(&mut state)).collect();
            assert!(!forbidden.is_match(&escape(&bytes)), "{bytes:?}");
        }
    }
}
