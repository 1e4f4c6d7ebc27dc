//! Who records: what a reader needs to know to say whose recording it is, and
//! whether that process still lives.
//!
//! What cannot be found out is empty or 0, and never an error.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

/// Who records. The fields are those of the recording's header.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Identity of the recording, random and not 0.
    pub(crate) recording: u64,
    /// Process id, in the process's own pid namespace.
    pub(crate) pid: u32,
    /// Effective user id.
    pub(crate) uid: u32,
    /// When the process started, in clock ticks since boot.
    pub(crate) start_time: u64,
    /// Inode number of the pid namespace.
    pub(crate) pid_namespace: u64,
    /// The boot's id, without dashes.
    pub(crate) boot_id: String,
    /// Path of the executable.
    pub(crate) executable: String,
    /// GNU build id of the executable, in hexadecimal.
    pub(crate) build_id: String,
    /// Name of the host.
    pub(crate) host: String,
    /// Name of the executable, which is the service's unless it was given one.
    pub(crate) name: String,
}

impl Identity {
    /// This process's identity, with a new one for a recording.
    pub(crate) fn of_this_process() -> Identity {
        let pid = std::process::id();
        let executable = fs::read_link("/proc/self/exe").unwrap_or_default();
        let executable = executable.to_string_lossy().into_owned();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Identity {
            recording: random_id(pid),
            pid,
            uid: rustix::process::geteuid().as_raw(),
            start_time: start_time(&stat).unwrap_or(0),
            pid_namespace: fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino()),
            boot_id: boot_id.trim().replace('-', ""),
            build_id: File::open("/proc/self/exe")
                .ok()
                .and_then(build_id)
                .unwrap_or_default(),
            // Not by uname(2), which a sandbox may deny and rustix has no answer for.
            host: host.trim().to_owned(),
            name: file_name(&executable),
            executable,
        }
    }
}

fn random_id(pid: u32) -> u64 {
    let mut bytes = [0; 8];
    match getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_le_bytes(bytes).max(1),
        // The standard library has a seed of its own, which a forked process
        // shares with its parent.
        _ => RandomState::new()
            .hash_one((pid, std::time::SystemTime::now()))
            .max(1),
    }
}

/// Field 22 of `/proc/self/stat` (proc_pid_stat(5)). The second field is the
/// command's name in parentheses, which may hold blanks and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, from_field_3) = stat.rsplit_once(')')?;
    from_field_3.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// An executable that was replaced while it ran has " (deleted)" after its path.
fn file_name(executable: &str) -> String {
    let path = executable.strip_suffix(" (deleted)").unwrap_or(executable);
    Path::new(path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

const ELF_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const PROGRAM_HEADERS_MAX: u64 = 256;
const NOTES_BYTES_MAX: usize = 64 * 1024;
const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// The build id of a 64-bit little-endian ELF file (elf(5)), in hexadecimal.
pub(crate) fn build_id(file: File) -> Option<String> {
    let header = bytes_at(&file, 0, ELF_HEADER_BYTES)?;
    let (class, order) = (2, 1);
    if !header.starts_with(b"\x7fELF") || header.get(4..6)? != [class, order] {
        return None;
    }
    let (first, each, count) = (
        u64_at(&header, 32)?,
        u16_at(&header, 54)?,
        u16_at(&header, 56)?,
    );
    (0..count.min(PROGRAM_HEADERS_MAX)).find_map(|i| {
        let offset = first.checked_add(i * each)?;
        let segment = bytes_at(&file, offset, PROGRAM_HEADER_BYTES)?;
        if u32_at(&segment, 0)? != PT_NOTE {
            return None;
        }
        let len = usize::try_from(u64_at(&segment, 32)?)
            .ok()?
            .min(NOTES_BYTES_MAX);
        let notes = bytes_at(&file, u64_at(&segment, 8)?, len)?;
        let align = if u64_at(&segment, 48)? == 8 { 8 } else { 4 };
        build_id_of_notes(&notes, align).map(hexadecimal)
    })
}

/// Each note has the lengths of its name and its content, a type, then both,
/// the lengths rounded up.
fn build_id_of_notes(notes: &[u8], align: usize) -> Option<&[u8]> {
    let mut rest = notes;
    loop {
        let name_len = usize::try_from(u32_at(rest, 0)?).ok()?;
        let content_len = usize::try_from(u32_at(rest, 4)?).ok()?;
        let kind = u32_at(rest, 8)?;
        let name = rest.get(12..)?.get(..name_len)?;
        let content_at = 12usize
            .checked_add(name_len)?
            .checked_next_multiple_of(align)?;
        let content = rest.get(content_at..)?.get(..content_len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(content);
        }
        let end = content_at
            .checked_add(content_len)?
            .checked_next_multiple_of(align)?;
        rest = rest.get(end..)?;
    }
}

fn bytes_at(file: &File, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?).into())
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [name.len() as u32, content.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        for part in [name, content] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_process_knows_itself() {
        let identity = Identity::of_this_process();
        assert_eq!(identity.pid, std::process::id());
        assert_ne!(identity.recording, 0);
        assert_ne!(identity.recording, Identity::of_this_process().recording);
        assert_ne!(identity.start_time, 0);
        assert_ne!(identity.pid_namespace, 0);
        assert_eq!(identity.boot_id.len(), 32);
        assert!(identity.executable.ends_with(&identity.name) && !identity.name.is_empty());
        assert!(!identity.host.is_empty());
    }

    #[test]
    fn a_command_with_parentheses_does_not_hide_the_start_time() {
        let fields: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("4711 (a) b (c) S {}\n", fields.join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(start_time("4711 (a) S 4"), None);
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn a_deleted_executable_keeps_its_name() {
        assert_eq!(file_name("/usr/bin/payments (deleted)"), "payments");
        assert_eq!(file_name("/usr/bin/payments"), "payments");
        assert_eq!(file_name(""), "");
    }

    #[test]
    fn the_build_id_is_found_among_the_notes() {
        let mut notes = note(b"GNU\0", 1, &[1; 16]);
        notes.extend(note(b"Go\0", 3, &[2; 5]));
        notes.extend(note(b"GNU\0", 3, &[0xab; 20]));
        assert_eq!(build_id_of_notes(&notes, 4), Some(&[0xab; 20][..]));
        for len in 0..notes.len() {
            assert_eq!(build_id_of_notes(&notes[..len], 4), None, "cut at {len}");
        }
        for i in 0..notes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = notes.clone();
                damaged[i] = value;
                let _ = build_id_of_notes(&damaged, 4);
                let _ = build_id_of_notes(&damaged, 8);
            }
        }
    }

    #[test]
    fn what_is_no_elf_file_has_no_build_id() {
        for path in ["/proc/self/stat", "/dev/null"] {
            assert_eq!(build_id(File::open(path).unwrap()), None);
        }
    }

    #[test]
    fn an_elf_file_of_another_class_or_order_has_no_build_id() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let of = |class: u8, order: u8| {
            let mut bytes = own.clone();
            (bytes[4], bytes[5]) = (class, order);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, bytes).unwrap();
            build_id(file.into_file())
        };
        let own = build_id(File::open("/proc/self/exe").unwrap());
        assert_eq!(of(2, 1), own);
        assert_eq!((of(1, 1), of(2, 2)), (None, None));
    }
}
