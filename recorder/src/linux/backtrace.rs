//! Where the calling thread is: return addresses, and what they lie in; and, last and
//! with more effort, in words.
//!
//! The addresses come from the unwinder that every Rust program has, which would
//! walk the same frames for the panic itself.

use std::backtrace::Backtrace;
use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::path::Path;

use crate::linux::identity;
use ttlog_format::incident::{FRAMES, Module};

/// The unwinder's own (Itanium C++ ABI, exception handling).
enum Context {}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        trace: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    fn _Unwind_GetIPInfo(context: *mut Context, before: *mut c_int) -> usize;
}

const CONTINUE: c_int = 0;
const STOP: c_int = 4;
const END_OF_STACK: c_int = 5;

/// Return addresses of the calling thread, innermost first.
pub(crate) fn frames() -> Vec<u64> {
    extern "C" fn each(context: *mut Context, argument: *mut c_void) -> c_int {
        // SAFETY: `argument` is the vector below, which nobody else has meanwhile.
        let frames = unsafe { &mut *argument.cast::<Vec<u64>>() };
        // SAFETY: the unwinder gave the context for the time of this call.
        let address = unsafe { _Unwind_GetIP(context) } as u64;
        if address == 0 || frames.len() == frames.capacity() {
            return STOP;
        }
        frames.push(address);
        CONTINUE
    }
    let mut frames: Vec<u64> = Vec::with_capacity(FRAMES);
    // SAFETY: `each` does not unwind, and the vector outlives the call.
    let _ = unsafe { _Unwind_Backtrace(each, (&raw mut frames).cast()) };
    frames
}

/// Whether the calling thread is in a signal handler; `None` where its frames do not
/// tell, because the unwinder cannot walk all of them.
pub(crate) fn in_a_handler() -> Option<bool> {
    extern "C" fn each(context: *mut Context, argument: *mut c_void) -> c_int {
        let mut before = 0;
        // SAFETY: the unwinder gave the context for the time of this call.
        let _ = unsafe { _Unwind_GetIPInfo(context, &raw mut before) };
        // What a signal has interrupted goes on at its address, and not behind a call.
        if before != 0 {
            // SAFETY: `argument` is the flag below, which nobody else has meanwhile.
            unsafe { *argument.cast::<bool>() = true };
            return STOP;
        }
        CONTINUE
    }
    let mut found = false;
    // SAFETY: `each` does not unwind, and the flag outlives the call.
    let end = unsafe { _Unwind_Backtrace(each, (&raw mut found).cast()) };
    (found || end == END_OF_STACK).then_some(found)
}

/// The executables and libraries that some of `addresses` lie in.
pub(crate) fn modules(addresses: &[u64]) -> Vec<Module> {
    if addresses.is_empty() {
        return Vec::new();
    }
    let mut modules = loaded();
    modules.retain(|module| {
        let (start, end) = module.range;
        addresses
            .iter()
            .any(|address| (start..end).contains(address))
    });
    for module in &mut modules {
        let path = if module.name.is_empty() {
            // The executable has no name of its own.
            let executable = std::fs::read_link("/proc/self/exe").unwrap_or_default();
            module.name = executable.to_string_lossy().into_owned();
            Path::new("/proc/self/exe")
        } else {
            Path::new(&module.name)
        };
        let file = File::open(path).ok();
        module.build_id = file.and_then(identity::build_id).unwrap_or_default();
    }
    modules
}

/// Where the executable was loaded: its first address, and the first behind it.
pub(crate) fn executable_range() -> (u64, u64) {
    // The loader tells of it first.
    loaded().first().map_or((0, 0), |module| module.range)
}

/// All that is loaded, without build ids (dl_iterate_phdr(3)).
fn loaded() -> Vec<Module> {
    extern "C" fn each(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        argument: *mut c_void,
    ) -> c_int {
        // SAFETY: `argument` is the vector below, which nobody else has meanwhile.
        let modules = unsafe { &mut *argument.cast::<Vec<Module>>() };
        // SAFETY: the loader gives what is valid for the time of this call.
        let info = unsafe { &*info };
        modules.extend(module(info));
        0
    }
    let mut modules: Vec<Module> = Vec::new();
    // SAFETY: `each` does not unwind, and the vector outlives the call.
    let _ = unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut modules).cast()) };
    modules
}

fn module(info: &libc::dl_phdr_info) -> Option<Module> {
    let base = info.dlpi_addr;
    let mut range = (u64::MAX, 0);
    for i in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: the loader says that there are `dlpi_phnum` headers at `dlpi_phdr`.
        let header = unsafe { info.dlpi_phdr.add(i) };
        // SAFETY: and they stay there as long as the module.
        let header = unsafe { &*header };
        if header.p_type == libc::PT_LOAD {
            let start = base.wrapping_add(header.p_vaddr);
            range.0 = range.0.min(start);
            range.1 = range.1.max(start.wrapping_add(header.p_memsz));
        }
    }
    let name = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: the loader's names end with a zero.
        let name = unsafe { CStr::from_ptr(info.dlpi_name) };
        name.to_string_lossy().into_owned()
    };
    (range.0 < range.1).then(|| Module {
        base,
        range,
        build_id: String::new(),
        name,
    })
}

/// The calling thread's frames in words, innermost first, without those of the panic
/// itself and those before `main`. This reads debug information, allocates, and may
/// take long.
pub(crate) struct Symbols(Backtrace);

impl Symbols {
    /// Notes where the calling thread is, which is quick.
    pub(crate) fn here() -> Symbols {
        Symbols(Backtrace::force_capture())
    }

    /// Finds the words, which may take long.
    pub(crate) fn resolve(&self) -> Vec<String> {
        lines(&self.0.to_string())
    }
}

/// A line a frame, `name at file:line:column`, from the two that std writes.
fn lines(text: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                frame.push_str(" at ");
                frame.push_str(place);
            }
        } else if let Some((_, name)) = line.split_once(": ") {
            frames.push(name.to_owned());
        }
    }
    // std's own way from the panic to the hook is innermost.
    let is_entry = |frame: &String| {
        let entries = ["rust_begin_unwind", "std::panicking::begin_panic"];
        entries.iter().any(|name| frame.contains(name))
    };
    let is_panic = |frame: &&String| is_entry(frame) || frame.starts_with("core::panicking::");
    let entry = frames.iter().position(is_entry).unwrap_or(0);
    let first = entry + frames.iter().skip(entry).take_while(is_panic).count();
    let is_begin = |frame: &String| frame.contains("__rust_begin_short_backtrace");
    let end = frames.iter().skip(first).position(is_begin);
    let end = end.map_or(frames.len(), |end| first + end);
    frames.drain(first..end).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_frames_lie_in_modules_with_build_ids() {
        let frames = frames();
        assert!(frames.len() > 3, "{frames:x?}");
        let modules = modules(&frames);
        let own = identity::Identity::of_this_process();
        assert!(
            modules
                .iter()
                .any(|module| module.name == own.executable && module.build_id == own.build_id),
            "{modules:x?}"
        );
        let found = |address: &u64| {
            let mut ranges = modules.iter().map(|module| module.range);
            ranges.any(|(start, end)| (start..end).contains(address))
        };
        assert!(frames.iter().all(found));
        let (start, end) = executable_range();
        let own_function = super::frames as fn() -> Vec<u64> as usize as u64;
        assert!((start..end).contains(&own_function));
    }

    #[test]
    fn of_a_deep_stack_the_innermost_frames_are_kept() {
        #[inline(never)]
        fn deep(calls: usize) -> Vec<u64> {
            match calls {
                0 => frames(),
                more => std::hint::black_box(deep(more - 1)),
            }
        }
        let (shallow, deep) = (deep(0), deep(2 * FRAMES));
        assert!(shallow.len() < FRAMES && deep.len() == FRAMES);
        assert_eq!(deep[0], shallow[0], "where they are asked for");
    }

    #[test]
    fn the_words_begin_below_the_panic_and_end_before_main_is_called() {
        let text = "   0: ttlog::hook\n   1: rust_begin_unwind\n             at /rustc/x/std.rs:1:2\n   \
                    2: core::panicking::panic_fmt\n   3: payments::charge\n             at \
                    ./src/main.rs:7:5\n   4: payments::main\n   5: \
                    std::sys::backtrace::__rust_begin_short_backtrace\n   6: main\n";
        let expected = ["payments::charge at ./src/main.rs:7:5", "payments::main"];
        assert_eq!(lines(text), expected);
        let torn = "             at ./src/main.rs:7:5\nno frame\n   0: payments::main\n";
        assert_eq!(lines(torn), ["payments::main"], "a place of no frame");
        let here = Symbols::here().resolve();
        assert!(
            here.iter().any(|line| line.contains("the_words_begin")),
            "{here:?}"
        );
    }
}
