//! The recording's file, from nothing to mapped and named.
//!
//! Whatever can go wrong with a disk goes wrong here, as an error, and not later
//! as a SIGBUS: every byte is allocated and mapped before the file gets its name, and
//! faulted in, but for the rest of a large one (see `prefault.rs`). A reader that lists
//! the directory sees whole recordings only, and a start that fails leaves nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, FlockOperation, IFlags, fallocate, flock, fstat, ioctl_getflags, ioctl_setflags,
};
use rustix::io::Errno;
use ttlog_format::BLOCK_BYTES;
use ttlog_format::clock::{Sample, Source};
use ttlog_format::header::{Header, Layout};

use crate::error::Error;
use crate::linux::backtrace;
use crate::linux::durable;
use crate::linux::identity::Identity;
use crate::linux::limits::{self, MemoryCgroups};
use crate::linux::place::Place;
use crate::linux::prefault::{self, BEGINNING_BYTES};
use crate::linux::retire;
use crate::linux::seeded::{self, Bug};
use crate::linux::unfinished::Unfinished;
use crate::settings::Settings;

/// Fewer blocks than 1 MiB of them is no recording.
const BLOCKS_MIN: u32 = (1 << 20) / BLOCK_BYTES as u32;

/// The least that is allocated at once where signals interrupt that, in bytes.
const STRETCH_MIN: u64 = 64 << 10;

/// A recording that was just begun.
#[derive(Debug)]
pub(crate) struct Created {
    /// The whole file. Nothing but its beginning and the header's copy has been written.
    pub(crate) map: MmapRaw,
    /// How many bytes of it are faulted in.
    pub(crate) faulted_in: u64,
    /// What was written to its beginning and its end.
    pub(crate) header: Header,
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// The file, with an exclusive flock(2) that says that its writer lives. The
    /// mapping keeps it too, so a process that forks and unmaps nothing passes it on.
    pub(crate) file: File,
}

/// Creates the recording that the settings ask for, in the first place that
/// takes it.
///
/// # Errors
/// Settings out of bounds, or no place that takes it. No file is left.
pub(crate) fn create(
    settings: &Settings,
    groups: &MemoryCgroups,
    sample_clocks: impl Fn() -> Sample,
    clock: Source,
) -> Result<Created, Error> {
    let begun = sample_clocks();
    let capacity_bytes = settings.capacity_bytes()?;
    let sync_interval = settings.sync_interval()?;
    let request = Request {
        settings,
        asked_bytes: capacity_bytes,
        sync_interval_ns: sync_interval.map_or(0, |interval| interval.as_nanos() as u64),
        asked: Layout {
            span_slots: settings.span_slots()?,
            blocks: (capacity_bytes / BLOCK_BYTES as u64) as u32,
        },
        begun,
        groups,
        sample_clocks: &sample_clocks,
        clock,
    };
    if let Some(directory) = &settings.directory {
        let make_missing = settings.makes_directories();
        return request.create_in(&Place::asked_for(directory, make_missing)?);
    }
    if let Some(interval) = sync_interval {
        return Err(durable::without_directory(interval));
    }
    let mut reasons = Vec::new();
    let temporary = || Place::among_temporary_files(&settings.temporary);
    for place in [&Place::in_memory as &dyn Fn() -> _, &temporary] {
        match place().and_then(|place| request.create_in(&place)) {
            Ok(created) => return Ok(created),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Error::no_place(reasons))
}

/// What is wanted, wherever it is going to be.
struct Request<'a> {
    settings: &'a Settings,
    asked_bytes: u64,
    sync_interval_ns: u64,
    asked: Layout,
    begun: Sample,
    groups: &'a MemoryCgroups,
    sample_clocks: &'a dyn Fn() -> Sample,
    clock: Source,
}

impl Request<'_> {
    fn create_in(&self, place: &Place) -> Result<Created, Error> {
        if self.is_durable() {
            durable::can_be_kept_in(place)?;
        }
        // First, so that there is the room that the old ones took.
        retire::recordings(&place.directory, self.settings, self.groups);
        let in_memory = place.on_tmpfs || place.on_overlay;
        let charged = in_memory.then_some(self.groups);
        let (allowed, reason) = limits::allowed(self.asked.file_bytes(), charged);
        let (layout, limited_by) = fitted(self.asked, allowed, reason)?;
        place.has_room(layout.file_bytes())?;
        self.create_as(layout, limited_by, Unfinished::create(&place.directory)?)
    }

    fn is_durable(&self) -> bool {
        self.sync_interval_ns != 0
    }

    fn create_as(
        &self,
        layout: Layout,
        limited_by: String,
        unfinished: Unfinished<'_>,
    ) -> Result<Created, Error> {
        let faulted_in = self.beginning(layout, &unfinished)?;
        let map = prepare(&unfinished, layout.file_bytes(), faulted_in)?;
        let stat = unfinished.tried("look at", fstat(&unfinished.file))?;
        let header = self.header(layout, limited_by, stat.st_ino);
        if !seeded::is(Bug::NameFirst) {
            let written = write_headers(&unfinished.file, &header);
            unfinished.tried("write the headers of", written)?;
        }
        if self.is_durable() {
            unfinished.tried("sync", durable::write_whole(&unfinished.file))?;
        }
        let directory = unfinished.directory;
        let (file, path) = unfinished.named(header.pid, self.begun.wall_ns / 1_000_000, "ring")?;
        if seeded::is(Bug::NameFirst) {
            let _ = write_headers(&file, &header);
        }
        if self.is_durable() {
            durable::write_names(directory).inspect_err(|_| drop(fs::remove_file(&path)))?;
        }
        Ok(Created {
            map,
            faulted_in,
            header,
            path,
            file,
        })
    }

    /// How many bytes are to be faulted in before the start returns: all of them where
    /// more than speed hangs on it.
    ///
    /// # Errors
    /// What fstatfs(2) says.
    fn beginning(&self, layout: Layout, unfinished: &Unfinished<'_>) -> Result<u64, Error> {
        let file_system = unfinished.directory.file_system()?;
        let at_leisure = file_system.keeps_what_it_allocates() && !self.is_durable();
        let bytes = layout.file_bytes();
        Ok(if at_leisure {
            bytes.min(BEGINNING_BYTES)
        } else {
            bytes
        })
    }

    fn header(&self, layout: Layout, limited_by: String, inode: u64) -> Header {
        let identity = Identity::of_this_process();
        let group = self.groups.own().unwrap_or_default();
        Header {
            recording: identity.recording,
            layout,
            pid: identity.pid,
            uid: identity.uid,
            forked_from: self.settings.forked_from.unwrap_or(0),
            start_time: identity.start_time,
            pid_namespace: identity.pid_namespace,
            inode,
            cgroup_inode: group.inode,
            oom_kills: group.oom_kills,
            cgroup: group.directory,
            boot_id: identity.boot_id,
            executable: identity.executable,
            executable_range: backtrace::executable_range(),
            build_id: identity.build_id,
            host: identity.host,
            name: self.settings.name.clone().unwrap_or(identity.name),
            clock: self.clock,
            samples: [self.begun, (self.sample_clocks)()],
            window_ns: self.settings.window_ns(),
            sync_interval_ns: self.sync_interval_ns,
            asked_bytes: self.asked_bytes,
            limited_by,
            filter: self.settings.filter().to_owned(),
            scrubbed: false,
        }
    }
}

/// Writes the header, its copy, and the totals of a recording in which nothing is counted.
fn write_headers(file: &File, header: &Header) -> io::Result<()> {
    file.write_all_at(&header.beginning()[..], 0)?;
    file.write_all_at(&header.encode()[..], header.layout.copy_offset())
}

/// As many of the blocks as the allowed bytes hold, and why not all.
fn fitted(asked: Layout, allowed_bytes: u64, reason: String) -> Result<(Layout, String), Error> {
    if allowed_bytes >= asked.file_bytes() {
        return Ok((asked, String::new()));
    }
    let around = Layout { blocks: 0, ..asked }.file_bytes();
    let blocks = allowed_bytes.saturating_sub(around) / BLOCK_BYTES as u64;
    let layout = Layout {
        blocks: blocks.min(asked.blocks.into()) as u32,
        ..asked
    };
    if layout.blocks < BLOCKS_MIN {
        let least = Layout {
            blocks: BLOCKS_MIN,
            ..asked
        }
        .file_bytes();
        return Err(Error::limit(least, reason));
    }
    Ok((layout, reason))
}

/// Allocates, maps and locks a recording's file, and faults in as much of it as is said.
fn prepare(unfinished: &Unfinished<'_>, bytes: u64, faulted_in: u64) -> Result<MmapRaw, Error> {
    let stat = unfinished.tried("look at", fstat(&unfinished.file))?;
    if stat.st_mode & 0o777 != 0o600 {
        let found = format!("its files have mode {:03o}, not 600", stat.st_mode & 0o777);
        let directory = &unfinished.directory.path;
        return Err(Error::directory(
            directory,
            found,
            "choose another file system",
        ));
    }
    // On btrfs, writing a block again would allocate another one, which can
    // fail. The flag counts for empty files only, and elsewhere for nothing.
    if let Ok(flags) = ioctl_getflags(&unfinished.file) {
        let _ = ioctl_setflags(&unfinished.file, flags | IFlags::NOCOW);
    }
    let zeroed = unfinished.tried("allocate", allocate(&unfinished.file, bytes))?;
    let on_disk = !unfinished.directory.file_system()?.is_in_memory();
    if on_disk && !zeroed {
        // Pages that are there, and many in one piece, are faulted in twice as fast.
        let written = prefault::write_zeros(&unfinished.file, faulted_in);
        unfinished.tried("write zeros to", written)?;
    }
    let map = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
    let map = map.and_then(|len| MmapOptions::new().len(len).map_raw(&unfinished.file));
    let map = unfinished.tried("map", map)?;
    let populated = prefault::beginning(&map, &unfinished.file, faulted_in, zeroed);
    unfinished.tried("fault in", populated)?;
    unfinished.tried(
        "lock",
        flock(&unfinished.file, FlockOperation::NonBlockingLockExclusive),
    )?;
    Ok(map)
}

/// Allocates every byte; whether that was by writing zeros.
fn allocate(file: &File, bytes: u64) -> io::Result<bool> {
    let fallocate = |offset, len| fallocate(file, FallocateFlags::empty(), offset, len);
    match allocate_by(fallocate, bytes) {
        Ok(()) => Ok(false),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            prefault::write_zeros(file, bytes)?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// Allocates so many bytes by calls that may be interrupted.
///
/// On many a kernel a tmpfs gives up at any signal, and gives back what it had allocated
/// by then. Under a profiler's timer it would never come to the end of a large file: half
/// as much is tried next.
fn allocate_by(
    mut allocate: impl FnMut(u64, u64) -> Result<(), Errno>,
    bytes: u64,
) -> Result<(), Errno> {
    let (mut offset, mut stretch) = (0, bytes);
    while offset < bytes {
        let len = stretch.min(bytes - offset);
        match allocate(offset, len) {
            Ok(()) => offset += len,
            Err(Errno::INTR) => stretch = (stretch / 2).max(STRETCH_MIN),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
