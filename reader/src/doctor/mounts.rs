//! Which mount a path lies on, by the text of /proc/self/mountinfo
//! (proc_pid_mountinfo(5)).
//!
//! Any text is taken: a line that is none is passed over.

use std::path::{Path, PathBuf};

/// A line of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which directory of its file system is mounted.
    pub(super) root: String,
    /// Where.
    pub(super) at: PathBuf,
    /// The kind of file system, as `mount` says it.
    pub(super) kind: String,
    /// The options of the file system itself.
    pub(super) options: String,
}

/// The mounts of a text, in its order.
pub(super) fn all(text: &str) -> impl Iterator<Item = Mount> {
    text.lines().filter_map(parse)
}

/// The mount that an absolute path lies on: of those around it the innermost, and of
/// several there the last, which hides the others.
pub(super) fn covering(text: &str, path: &Path) -> Option<Mount> {
    let around = all(text).filter(|mount| path.starts_with(&mount.at));
    around.max_by_key(|mount| mount.at.components().count())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    let mut fields = file_system.splitn(3, ' ');
    Some(Mount {
        root: unescaped(root),
        at: unescaped(at).into(),
        kind: fields.next()?.to_owned(),
        options: fields.nth(1).unwrap_or_default().to_owned(),
    })
}

/// The text of `\040` and the like.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(octal);
        out.push(octal.unwrap_or(first));
        rest = match octal {
            Some(_) => &after[3..],
            None => after,
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = r"22 1 0:20 / / rw - overlay overlay rw,lowerdir=/a
23 22 0:21 / /dev rw - devtmpfs udev rw
24 23 0:22 / /dev/shm rw,nosuid shared:3 master:1 - tmpfs shm rw,size=65536k
no line at all
25 22 8:1 /pods/7/volumes/empty\040dir /var/with\040space rw - ext4 /dev/sda1 rw
26 22 0:30 / /var/with\040space rw - tmpfs tmpfs rw
";

    fn covers(path: &str) -> (String, String) {
        let mount = covering(TEXT, Path::new(path)).unwrap();
        (mount.at.display().to_string(), mount.kind)
    }

    #[test]
    fn a_path_lies_on_the_innermost_mount_and_the_last_one_there() {
        let pair = |at: &str, kind: &str| (at.to_owned(), kind.to_owned());
        assert_eq!(covers("/dev/shm/ttlog-0"), pair("/dev/shm", "tmpfs"));
        assert_eq!(covers("/dev/shmother"), pair("/dev", "devtmpfs"));
        assert_eq!(covers("/tmp"), pair("/", "overlay"));
        assert_eq!(
            covers("/var/with space/a"),
            pair("/var/with space", "tmpfs")
        );
        assert_eq!(covering("", Path::new("/tmp")), None);
    }

    #[test]
    fn roots_and_options_are_told() {
        let mounts: Vec<Mount> = all(TEXT).collect();
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[3].root, "/pods/7/volumes/empty dir");
        assert_eq!(mounts[2].options, "rw,size=65536k");
        assert_eq!(unescaped(r"a\134b\9\400\0"), r"a\b\9\400\0");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(.*\n)*[ -~\\\\/0-9 \n-]*") {
            let _ = covering(&text, Path::new("/var/lib/payments"));
        }
    }
}
