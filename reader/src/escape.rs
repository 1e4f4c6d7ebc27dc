//! The one door between a recording and a terminal.
//!
//! What a recording says was chosen by whoever the process spoke to, and may be
//! an attack on the terminal that shows it: a control sequence, a second line, a
//! text that runs backwards. All of it comes out visible and harmless.

use std::fmt::Write;

/// Whether a terminal, or the eye, could be misled by `c`.
///
/// Controls (C0, DEL, C1), separators of lines and paragraphs, what changes the
/// direction of text, what has no width, and tags.
pub(crate) fn is_hazard(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The text of `bytes` as it may be shown on a terminal: hazards and bytes that
/// are no UTF-8 are escaped as Rust would escape them.
///
/// ```
/// let text = "user \u{1b}[2J\r\n".as_bytes();
/// assert_eq!(ttlog_reader::escape(text), r"user \x1b[2J\r\n");
/// ```
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    push(&mut out, bytes, false);
    out
}

/// Appends the text of `bytes` as [`escape`] gives it.
pub(crate) fn push_escaped(out: &mut String, bytes: &[u8]) {
    push(out, bytes, false);
}

/// Appends the text of `bytes` between quotes, like the `Debug` of a string.
pub(crate) fn push_quoted(out: &mut String, bytes: &[u8]) {
    out.push('"');
    push(out, bytes, true);
    out.push('"');
}

fn push(out: &mut String, bytes: &[u8], quoted: bool) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' if quoted => out.extend(['\\', c]),
                _ if is_hazard(c) => push_hazard(out, c),
                _ => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_hex(out, *byte);
        }
    }
}

fn push_hazard(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\x7f' => push_hex(out, c as u8),
        _ => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
    }
}

fn push_hex(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written down a second time, on its own, as ranges of what is to be seen nowhere.
    const FORBIDDEN: [(u32, u32); 9] = [
        (0, 0x1f),
        (0x7f, 0x9f),
        (0x61c, 0x61c),
        (0x200b, 0x200f),
        (0x2028, 0x202e),
        (0x2060, 0x2064),
        (0x2066, 0x2069),
        (0xfeff, 0xfeff),
        (0xe0000, 0xe007f),
    ];

    fn forbidden(c: char) -> bool {
        FORBIDDEN
            .iter()
            .any(|&(from, to)| (from..=to).contains(&u32::from(c)))
    }

    /// The bytes that UTF-8 would have for a number, surrogates included.
    fn encoded(point: u32) -> Vec<u8> {
        match char::from_u32(point) {
            Some(c) => c.to_string().into_bytes(),
            None => vec![
                0xe0 | (point >> 12) as u8,
                0x80 | (point >> 6 & 63) as u8,
                0x80 | (point & 63) as u8,
            ],
        }
    }

    #[test]
    fn of_all_code_points_none_that_misleads_comes_through() {
        for point in 0..0x11_0000 {
            let bytes = encoded(point);
            let out = escape(&bytes);
            assert!(!out.chars().any(forbidden), "{point:#x}: {out:?}");
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
        let mut out = String::new();
        push_quoted(&mut out, br#"a" b\"#);
        assert_eq!(out, r#""a\" b\\""#);
    }

    #[test]
    fn no_bytes_get_through_as_a_control() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..16).map(|_| next(&mut state)).collect();
            assert!(!escape(&bytes).chars().any(forbidden), "{bytes:?}");
        }
    }

    fn next(state: &mut u64) -> u8 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 56) as u8
    }
}
