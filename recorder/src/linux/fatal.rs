//! Fatal signals: a cause is stamped, then whatever would have happened happens.
//!
//! The recorder's action is the one that was there before with a function in front
//! of it: the same flags, the same mask. So the host's own handler, if it had one, is
//! called as it always was and may recover; where there was none, the signal kills
//! as it always did, with the same status and the same core.
//!
//! The law of this file: what a handler calls, here and in `core/causes.rs`, is
//! arithmetic, atomic stores, and of signal-safety(7) clock_gettime, getpid, raise and
//! sigaction, besides the bare system calls gettid, rt_tgsigqueueinfo and those of
//! `guard.rs`. No allocation, no lock, no unwinding.
//!
//! No alternate stack is made here, nor changed: a thread that has none and overflows is
//! `killed`. Where there is room for one handler alone, the previous one runs with SIGABRT
//! as it was, since a second frame would turn its abort into a fault.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::linux::core::Core;
use crate::linux::guard;
use crate::linux::registry;
use crate::linux::seeded::{self, Bug};
use crate::linux::thread;
use ttlog_format::cause::{Cause, Kind, Sender};

/// The signals that end a process because of what it did.
pub(crate) const SIGNALS: [c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// The code of a fault where nothing is mapped (sigaction(2)).
const SEGV_MAPERR: c_int = 1;

/// How near the stack pointer a fault is taken for a stack's overflow.
const NEAR_STACK_BYTES: u64 = 64 * 1024;

/// How much of an alternate stack a handler of the host's needs before it aborts;
/// Rust's own takes 0.7 KiB.
const HANDLER_BYTES: usize = 2048;

/// How many recorders a cause is stamped for.
const RECORDERS: usize = 4;

/// What was done about a signal before the recorder came: a function, or
/// [`libc::SIG_DFL`], or [`libc::SIG_IGN`]; and its flags.
struct Previous {
    function: AtomicUsize,
    flags: AtomicI32,
}

static PREVIOUS: [Previous; SIGNALS.len()] = [const {
    Previous {
        function: AtomicUsize::new(libc::SIG_DFL),
        flags: AtomicI32::new(0),
    }
}; SIGNALS.len()];

fn previous(signal: c_int) -> Option<&'static Previous> {
    let place = SIGNALS.iter().position(|&known| known == signal)?;
    PREVIOUS.get(place)
}

static INSTALLED: Once = Once::new();

/// Puts the handler in front of what is there, once in a process.
pub(crate) fn install() {
    INSTALLED.call_once(|| SIGNALS.into_iter().for_each(install_for));
}

/// Whether it has been.
pub(crate) fn is_installed() -> bool {
    INSTALLED.is_completed()
}

/// Puts the handler in front of what is there for a signal. Also called by the
/// handler itself.
fn install_for(signal: c_int) {
    let (Some(before), Some(previous)) = (action_of(signal), previous(signal)) else {
        return;
    };
    let function = before.sa_sigaction;
    if function == handler() {
        return;
    }
    previous.function.store(function, Ordering::Relaxed);
    // The handler reads it after this signal alone, which comes after the next call.
    previous.flags.store(before.sa_flags, Ordering::Release);
    let mut action = before;
    action.sa_sigaction = handler();
    action.sa_flags |= libc::SA_SIGINFO;
    if is_no_function(function) {
        action.sa_flags |= libc::SA_ONSTACK;
    }
    set_action(signal, &action);
}

fn handler() -> usize {
    on_fatal as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize
}

pub(crate) fn is_no_function(function: usize) -> bool {
    function == libc::SIG_DFL || function == libc::SIG_IGN
}

/// Whether nothing was done about a signal that is sent: process 1 of a namespace has
/// no default action (pid_namespaces(7)).
fn is_ignored(function: usize) -> bool {
    let is_first = || rustix::process::getpid().as_raw_nonzero().get() == 1;
    function == libc::SIG_IGN || (function == libc::SIG_DFL && is_first())
}

/// What is done about a signal, if it is one.
pub(crate) fn action_of(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: the action is written, and no other is set.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: where the call did not fail it has written the action.
    (failed == 0).then(|| unsafe { action.assume_init() })
}

fn set_action(signal: c_int, action: &libc::sigaction) {
    // SAFETY: the action is one that the kernel gave, with the function of this file,
    // with none, or as it was; the old one is not asked for.
    let _ = unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
}

/// Has a signal do what it does by default.
fn set_default(signal: c_int) {
    if let Some(mut action) = action_of(signal) {
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = 0;
        set_action(signal, &action);
    }
}

extern "C" fn on_fatal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = errno();
    let arrival = Arrival::new(signal, info, context);
    if guarded(&arrival, info, context) {
        return set_errno(errno);
    }
    let (function, flags) = previous(signal).map_or((libc::SIG_DFL, 0), |previous| {
        let flags = previous.flags.load(Ordering::Acquire);
        (previous.function.load(Ordering::Relaxed), flags)
    });
    if arrival.sent && is_ignored(function) {
        return;
    }
    let chained = !is_no_function(function);
    let stamps = arrival.stamp(chained);
    set_errno(errno);
    if chained {
        call(function, flags, signal, info, context, &arrival);
        let errno = self::errno();
        if arrival.is_survived() {
            stamps.iter().flatten().for_each(Stamp::survived);
        }
        set_errno(errno);
    } else {
        arrival.go_on_by_default(info);
    }
}

/// Whether the guard has dealt with a signal.
fn guarded(arrival: &Arrival, info: *const libc::siginfo_t, context: *mut c_void) -> bool {
    match arrival.signal {
        libc::SIGBUS if arrival.sent => {
            // SAFETY: the kernel gives a handler of SA_SIGINFO a valid context.
            let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
            guard::puts_back(info, context)
        }
        libc::SIGBUS => guard::absorbs(arrival.address),
        // Nothing is mapped there.
        libc::SIGSEGV if arrival.code == SEGV_MAPERR => guard::absorbs_in_a_child(arrival.address),
        _ => false,
    }
}

/// A signal that has arrived.
struct Arrival {
    signal: c_int,
    code: c_int,
    /// By a process, and not by the kernel because of a fault.
    sent: bool,
    address: u64,
    sender: Sender,
    stack_pointer: u64,
    program_counter: u64,
    /// The thread's alternate stack: where it begins, and how long it is.
    alternate: (usize, usize),
}

impl Arrival {
    fn new(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) -> Arrival {
        // SAFETY: the kernel gives a handler of SA_SIGINFO a valid siginfo_t.
        let info = unsafe { &*info };
        // SAFETY: and a valid context.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let (stack_pointer, program_counter) = registers(context);
        let sent = info.si_code <= 0;
        // SAFETY: the field lies within a siginfo_t, whatever its meaning for the signal.
        let address = unsafe { info.si_addr() };
        // SAFETY: as above.
        let pid = unsafe { info.si_pid() };
        // SAFETY: as above.
        let uid = unsafe { info.si_uid() };
        Arrival {
            signal,
            code: info.si_code,
            sent,
            address: address as u64,
            sender: Sender {
                pid: pid as u32,
                uid,
            },
            stack_pointer,
            program_counter,
            alternate: (context.uc_stack.ss_sp as usize, context.uc_stack.ss_size),
        }
    }

    fn overflows(&self) -> bool {
        let by_fault = matches!(self.signal, libc::SIGSEGV | libc::SIGBUS) && !self.sent;
        by_fault && self.address.abs_diff(self.stack_pointer) < NEAR_STACK_BYTES
    }

    /// Stamps the cause into each recording.
    fn stamp(&self, chained: bool) -> [Option<Stamp>; RECORDERS] {
        let cause = Cause {
            kind: Kind::Signal,
            signal: self.signal,
            code: self.code,
            address: (!self.sent).then_some(self.address),
            sender: self.sent.then_some(self.sender),
            program_counter: self.program_counter,
            panicking: self.signal == libc::SIGABRT && std::thread::panicking(),
            overflow: self.overflows(),
            chained,
            ..Cause::default()
        };
        if seeded::is(Bug::HandlerAllocates) {
            // The bug that the negative control of signals in malloc must find.
            drop(std::hint::black_box(vec![0u8; 5000]));
        }
        let mut stamps = [const { None }; RECORDERS];
        let cores = registry::cores().filter(|core| core.faults);
        let here = cores.filter_map(|core| Some((core, core.own()?)));
        for (stamp, (core, here)) in stamps.iter_mut().zip(here) {
            *stamp = Some(Stamp {
                core,
                written: here.cause(cause),
            });
        }
        stamps
    }

    /// Whether the alternate stack that the handler runs on has no room for another
    /// handler above it. A handler that was there before, as Rust's own for a stack's
    /// overflow, may abort, and an abort must be no fault.
    fn is_cramped(&self) -> bool {
        let here = std::ptr::from_ref(self) as usize;
        let (start, len) = self.alternate;
        if !(start..start.saturating_add(len)).contains(&here) {
            return false;
        }
        let used = start + len - here;
        here - start < used + HANDLER_BYTES
    }

    /// Whether the process goes on, now that the handler which was there before has
    /// returned.
    ///
    /// It may have given the signal its default, as Rust's own does where a stack has
    /// not overflowed: then a fault, tried again, kills. What was sent is over, and
    /// the next one shall leave a cause too.
    fn is_survived(&self) -> bool {
        let default = action_of(self.signal).is_some_and(|now| now.sa_sigaction == libc::SIG_DFL);
        if self.sent && default {
            install_for(self.signal);
        }
        self.sent || !default
    }

    /// Does what the signal does by default. A faulting instruction is tried again
    /// when the handler returns, and faults again; any other signal is sent again,
    /// since returning would survive it.
    fn go_on_by_default(&self, info: *mut libc::siginfo_t) {
        if seeded::is(Bug::HandlerEnds) {
            // The bug that the negative control of deaths must find.
            // SAFETY: it does not return.
            unsafe { libc::_exit(1) };
        }
        set_default(self.signal);
        let is_fault = matches!(
            self.signal,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE
        );
        if is_fault && !self.sent {
            return;
        }
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        if self.code == libc::SI_TKILL && self.sender.pid == pid as u32 {
            // As abort(3) and raise(3) sent it: by the same call, which whoever
            // filters system calls has let through, and with the same particulars.
            // SAFETY: it sends this thread a signal.
            unsafe { libc::raise(self.signal) };
            return;
        }
        let thread = thread::id() as c_int;
        // SAFETY: it sends this thread what it was sent, which waits until the handler
        // has returned (rt_tgsigqueueinfo(2)).
        let failed =
            unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, thread, self.signal, info) };
        if failed != 0 {
            // SAFETY: the same without the particulars, where those may not be sent.
            unsafe { libc::raise(self.signal) };
        }
    }
}

/// A cause that was stamped: its number and its ticks.
struct Stamp {
    core: &'static Core,
    written: (u64, u64),
}

impl Stamp {
    fn survived(&self) {
        if let Some(here) = self.core.own() {
            here.survived(self.written);
        }
    }
}

/// Calls the function that was there before, as the kernel would have.
fn call(
    function: usize,
    flags: c_int,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    arrival: &Arrival,
) {
    let cramped = signal != libc::SIGABRT && arrival.is_cramped();
    let abort = if cramped {
        action_of(libc::SIGABRT)
    } else {
        None
    };
    let abort = abort.filter(|abort| abort.sa_sigaction == handler());
    if abort.is_some() {
        set_default(libc::SIGABRT);
    }
    if flags & libc::SA_SIGINFO == 0 {
        // SAFETY: the kernel held this to be a handler of one argument.
        let function: extern "C" fn(c_int) = unsafe { std::mem::transmute(function) };
        function(signal);
    } else {
        // SAFETY: the kernel held this to be a handler of three arguments.
        let function: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(function) };
        function(signal, info, context);
    }
    if let Some(abort) = abort {
        set_action(libc::SIGABRT, &abort);
    }
}

/// Stack pointer and program counter.
#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> (u64, u64) {
    let register = |which: c_int| context.uc_mcontext.gregs[which as usize] as u64;
    (register(libc::REG_RSP), register(libc::REG_RIP))
}

/// Stack pointer and program counter.
#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> (u64, u64) {
    (context.uc_mcontext.sp, context.uc_mcontext.pc)
}

/// Stack pointer and program counter, where nothing is recorded.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers(_: &libc::ucontext_t) -> (u64, u64) {
    (0, 0)
}

fn errno() -> c_int {
    let place = errno_place();
    // SAFETY: the place is this thread's own and lives as long as the thread.
    unsafe { *place }
}

fn set_errno(errno: c_int) {
    let place = errno_place();
    // SAFETY: as above.
    unsafe { *place = errno };
}

fn errno_place() -> *mut c_int {
    // SAFETY: it takes nothing and gives an address.
    unsafe { libc::__errno_location() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_handler_is_put_in_front_of_what_was_there_and_never_of_itself() {
        install();
        let function = || {
            let previous = previous(libc::SIGTRAP).unwrap();
            previous.function.load(Ordering::Relaxed)
        };
        let before = function();
        assert_ne!(before, handler());
        install_for(libc::SIGTRAP);
        assert_eq!(function(), before, "it would call itself for ever");
        let now = action_of(libc::SIGTRAP).unwrap();
        assert_eq!(now.sa_sigaction, handler());
    }

    #[test]
    fn what_is_no_signal_of_these_stays_as_it_is() {
        let function = || action_of(libc::SIGUSR2).unwrap().sa_sigaction;
        let before = function();
        install_for(libc::SIGUSR2);
        assert_eq!(function(), before);
        assert!(action_of(4711).is_none());
        set_default(4711);
    }
}
