//! A power cut, and what must be there after it.
//!
//! The law has two halves. Nothing that can be read is false: every event is one that
//! was said, once and in its order. And what had returned one interval and the longest
//! sync before the cut is there, unless newer events have taken its place by then.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::time::Duration;

use ttlog_format::salvage::{self, Recording};

use crate::Violation;
use crate::check;
use crate::power::{self, Disk, Extent};
use crate::powered::{Notes, Powered, WORKERS, now_ns};

/// Events by worker and number.
pub type Events = BTreeSet<(u64, u64)>;

/// What a power cut leaves of a recording, and what was in memory at that time.
#[derive(Debug)]
pub struct Cut {
    /// When it came, by the monotonic clock.
    pub at_ns: u64,
    /// What the disk had received.
    pub bytes: Vec<u8>,
    /// The file as the kernel had it, just after the cut.
    pub in_memory: Vec<u8>,
    /// The longest that a sync had taken, by the recorder's own numbers.
    pub longest_sync_ns: u64,
}

fn newest(events: &Events, worker: u64) -> Option<u64> {
    let of_worker = events.range((worker, 0)..(worker, u64::MAX));
    of_worker.last().map(|&(_, sequence)| sequence)
}

/// What there is to say of a cut that cost no more than it may.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    /// How many events had to be there.
    pub required: usize,
    /// How long before the cut the first event that it cost had returned.
    pub reach: Duration,
}

/// Cuts the power of a process's recording, as often as is wanted: the disk goes on.
#[derive(Debug)]
pub struct Cutter {
    image: File,
    extents: Vec<Extent>,
    file: File,
}

impl Cutter {
    /// For the recording of `powered`, all of which is on `disk`.
    ///
    /// # Errors
    /// It is not.
    pub fn new(disk: &Disk, powered: &Powered) -> Result<Cutter, String> {
        let path = powered.recording();
        let text = |error: io::Error| error.to_string();
        Ok(Cutter {
            image: disk.image().map_err(text)?,
            extents: disk.extents(&path)?,
            file: File::open(path).map_err(text)?,
        })
    }

    /// Where the recording lies on the disk.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Cuts the power now.
    ///
    /// # Panics
    /// If the image cannot be read.
    pub fn cut(&self, powered: &Powered) -> Cut {
        let at_ns = now_ns();
        let mut bytes = Vec::new();
        power::received(&self.image, &self.extents, &mut bytes).expect("the image");
        let in_memory = read(&self.file).expect("the recording");
        bytes.truncate(in_memory.len());
        Cut {
            at_ns,
            bytes,
            in_memory,
            longest_sync_ns: powered.numbers().longest_sync_ns,
        }
    }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.metadata()?.len()).expect("fits memory");
    let mut bytes = vec![0; len];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}

impl Cut {
    /// Checks the cut against what its process noted.
    ///
    /// # Errors
    /// An event that is false, or is lost.
    pub fn judge(&self, notes: &Notes, interval: Duration) -> Result<Judged, Violation> {
        let interval_ns = u64::try_from(interval.as_nanos()).expect("less than centuries");
        let until = self.at_ns - interval_ns - self.longest_sync_ns;
        let on_disk = events(&salvaged(&self.bytes)?)?;
        let in_memory = events(&salvaged(&self.in_memory)?)?;
        let mut judged = Judged::default();
        for worker in 1..=WORKERS {
            let returned = notes.count_at(worker, until);
            let kept = in_memory.range((worker, 0)..(worker, returned));
            for event in kept {
                judged.required += 1;
                if !on_disk.contains(event) {
                    return Err(self.lost(worker, returned, &on_disk));
                }
            }
            let lost = newest(&on_disk, worker).map_or(0, |newest| newest + 1);
            let returned_at = notes.returned_at(worker, lost).unwrap_or(self.at_ns);
            let reach_ns = self.at_ns.saturating_sub(returned_at);
            judged.reach = judged.reach.max(Duration::from_nanos(reach_ns));
        }
        Ok(judged)
    }

    fn lost(&self, worker: u64, returned: u64, on_disk: &Events) -> Violation {
        let newest = newest(on_disk, worker);
        Violation::new(format!(
            "lost: {returned} events of worker {worker} had returned an interval and {} ns \
             before the cut; the newest on the disk is {newest:?}",
            self.longest_sync_ns
        ))
    }

    /// The same cut of a disk that writes its sectors in any order: each is this one's or
    /// that of an earlier cut.
    pub fn torn(&self, earlier: &Cut, mut is_earlier: impl FnMut(usize) -> bool) -> Vec<u8> {
        const SECTOR: usize = 512;
        let mut bytes = self.bytes.clone();
        let sectors = bytes.chunks_mut(SECTOR).zip(earlier.bytes.chunks(SECTOR));
        for (number, (sector, earlier)) in sectors.enumerate() {
            if is_earlier(number) {
                sector.copy_from_slice(earlier);
            }
        }
        bytes
    }
}

/// What can be read of a recording's bytes.
///
/// # Errors
/// It is no recording.
pub fn salvaged(bytes: &[u8]) -> Result<Recording, Violation> {
    salvage::salvage(bytes)
        .map_err(|error| Violation::new(format!("lost: no recording: {error:?}")))
}

/// Worker and number of every event that is told in whole.
///
/// # Errors
/// One of them is false.
pub fn events(recording: &Recording) -> Result<Events, Violation> {
    let mut events = BTreeSet::new();
    let told = check::told(recording)?;
    for (thread, told) in recording.threads.iter().zip(told) {
        let Some(worker) = check::worker_of(&thread.name) else {
            continue;
        };
        for sequence in told {
            if !events.insert((worker, sequence)) {
                let text = format!("worker {worker} is said to have said {sequence} twice");
                return Err(Violation::new(text));
            }
        }
    }
    Ok(events)
}
