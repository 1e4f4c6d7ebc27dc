//! Faulting a recording in, so that no store waits for a page: its beginning before the
//! start returns, and what is behind that, of a large one, on a thread that ends with it.
//!
//! By then every byte is allocated, so nothing hangs on that thread: where it is not there
//! yet, or never is, a store costs a minor fault. It changes no byte, and goes in short
//! stretches, since who maps memory meanwhile waits for one of them.
//!
//! A recording of the default size is all beginning, and no thread is made: a process of
//! one thread may do what others may not, and stays one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memmap2::{Advice, MmapRaw};

use crate::linux::aside::Ready;
use crate::linux::core::Core;

/// What the start itself faults in: some milliseconds' work.
pub(crate) const BEGINNING_BYTES: u64 = 16 << 20;

/// What is faulted in at once behind the start: some tenths of a millisecond's work.
const STRETCH_BYTES: usize = 256 << 10;

/// Faults the first `bytes` of a file in, for writing.
///
/// Kernels before 5.14 have no `MADV_POPULATE_WRITE`. There, zeros are written to all of
/// the file unless they have been, which allocates the pages and leaves the first store
/// into each a minor fault.
///
/// # Errors
/// What madvise(2) or pwrite(2) says.
pub(crate) fn beginning(map: &MmapRaw, file: &File, bytes: u64, zeroed: bool) -> io::Result<()> {
    let len = usize::try_from(bytes).map_or(map.len(), |bytes| bytes.min(map.len()));
    let unwritten = if zeroed { 0 } else { map.len() as u64 };
    populated(
        || map.advise_range(Advice::PopulateWrite, 0, len),
        || write_zeros(file, unwritten),
    )
}

/// Has `advise` fault memory in, and does as in `unknown` where the kernel does not know how.
fn populated(
    mut advise: impl FnMut() -> io::Result<()>,
    unknown: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let advised = advise();
        match advised.as_ref().map_err(io::Error::kind) {
            Err(io::ErrorKind::Interrupted) => {}
            Err(io::ErrorKind::InvalidInput) => return unknown(),
            _ => return advised,
        }
    }
}

/// Writes zeros to the first `bytes` of a file.
///
/// # Errors
/// What pwrite(2) says.
pub(crate) fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < bytes {
        let len = (bytes - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..len as usize], offset)?;
        offset += len;
    }
    Ok(())
}

/// The thread that faults in what lies behind the first `bytes`, ready; none where there
/// is nothing. Where no thread is to be had, it is done here and now.
pub(crate) fn ready(core: &Arc<Core>, bytes: u64) -> Option<Ready> {
    let from = usize::try_from(bytes).ok()?;
    if from >= core.memory.bytes() {
        return None;
    }
    let behind = Arc::clone(core);
    let ready = Ready::new("ttlog-prefault", move || rest(&behind, from));
    ready.inspect_err(|_| rest(core, from)).ok()
}

fn rest(core: &Core, from: usize) {
    let mut offset = from;
    // What takes the place of a lost stretch is private memory, which is to take no more
    // than is stored to.
    while offset < core.memory.bytes() && core.guard.lost() == 0 {
        if core.memory.fault_in(offset, STRETCH_BYTES).is_err() {
            return;
        }
        offset += STRETCH_BYTES;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn told(says: &[Result<(), Errno>]) -> (Option<Errno>, bool) {
        let mut says = says.iter();
        let mut is_written = false;
        let result = populated(
            || Ok((*says.next().expect("it was asked too often"))?),
            || {
                is_written = true;
                Ok(())
            },
        );
        assert_eq!(says.next(), None, "it was asked too seldom");
        let error = result.err().map(|error| Errno::from_io_error(&error));
        (error.map(Option::unwrap), is_written)
    }

    #[test]
    fn what_the_kernel_does_not_know_is_written_and_what_it_says_else_is_told() {
        assert_eq!(told(&[Ok(())]), (None, false));
        assert_eq!(
            told(&[Err(Errno::INTR), Err(Errno::INTR), Ok(())]),
            (None, false)
        );
        assert_eq!(told(&[Err(Errno::INVAL)]), (None, true));
        assert_eq!(told(&[Err(Errno::INTR), Err(Errno::INVAL)]), (None, true));
        let full = Some(Errno::NOMEM);
        assert_eq!(told(&[Err(Errno::NOMEM)]), (full, false));
    }
}
