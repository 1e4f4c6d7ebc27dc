//! Signals in words: signal(7), sigaction(2), as Linux numbers them.
//!
//! The numbers are those of x86_64 and aarch64 alike. The reader may run on
//! another system, whose own numbers are of no consequence.

use ttlog_format::cause::{Cause, Sender};

/// What `abort` raises.
pub(crate) const SIGABRT: i32 = 6;

/// Code of a signal that the kernel raised without saying why.
const SI_KERNEL: i32 = 128;

const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The signal's name, or its number where it has none.
pub(crate) fn name(signal: i32) -> String {
    let index = usize::try_from(signal).ok().and_then(|n| n.checked_sub(1));
    match index.and_then(|index| NAMES.get(index)) {
        Some(name) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

/// What the code of a fault means, where that helps.
pub(crate) fn fault(signal: i32, code: i32) -> Option<&'static str> {
    let words: &[&str] = match signal {
        4 => &[
            "illegal opcode",
            "illegal operand",
            "illegal addressing mode",
            "illegal trap",
            "privileged opcode",
            "privileged register",
            "coprocessor error",
            "internal stack error",
        ],
        5 => &[
            "breakpoint",
            "single step",
            "taken branch",
            "hardware breakpoint",
        ],
        7 => &[
            "misaligned address",
            "nothing behind the address, as in a mapped file that was truncated",
            "hardware error of the mapped object",
            "memory error",
            "memory error",
        ],
        8 => &[
            "integer divided by zero",
            "integer overflow",
            "float divided by zero",
            "float overflow",
            "float underflow",
            "inexact float result",
            "invalid float operation",
            "subscript out of range",
        ],
        11 => &[
            "address not mapped",
            "access not permitted",
            "address out of its bounds",
            "access forbidden by a protection key",
        ],
        31 => &["system call forbidden by seccomp"],
        _ => &[],
    };
    let index = usize::try_from(code).ok()?.checked_sub(1)?;
    words.get(index).copied()
}

/// The address of a fault. The kernel has none where it does not say why, as for an
/// address that no page can have, and a 0 in its place would be taken for one.
pub(crate) fn address(cause: &Cause) -> Option<u64> {
    cause.address.filter(|_| cause.code != SI_KERNEL)
}

/// Who sent it, or what the fault was: ` (address not mapped) at address 0x8`,
/// `, sent by process 1 of user 0,`.
pub(crate) fn origin(cause: &Cause, pid: u32) -> String {
    if let Some(sender) = cause.sender {
        return format!(", sent by {},", sender_in_words(sender, pid));
    }
    let mut words = fault(cause.signal, cause.code).map_or(String::new(), |it| format!(" ({it})"));
    match address(cause) {
        Some(address) => words += &format!(" at address {address:#x}"),
        None if cause.code == SI_KERNEL => words += ", raised by the kernel without an address,",
        None => {}
    }
    words
}

fn sender_in_words(sender: Sender, pid: u32) -> String {
    match sender.pid {
        // What the process could not see from its pid namespace has no number there.
        0 => format!(
            "a process outside of its pid namespace, of user {}",
            sender.uid
        ),
        sender if sender == pid => "itself".into(),
        other => format!("process {other} of user {}", sender.uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_of_linux() {
        assert_eq!(name(1), "SIGHUP");
        assert_eq!(name(SIGABRT), "SIGABRT");
        assert_eq!(name(11), "SIGSEGV");
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(31), "SIGSYS");
        assert_eq!(name(35), "signal 35");
        assert_eq!(name(0), "signal 0");
        assert_eq!(name(i32::MIN), "signal -2147483648");
    }

    #[test]
    fn a_fault_is_said_in_words_and_an_unknown_one_is_not() {
        assert_eq!(fault(11, 1), Some("address not mapped"));
        assert_eq!(fault(8, 1), Some("integer divided by zero"));
        assert_eq!(fault(4, 2), Some("illegal operand"));
        for (signal, code) in [(11, 0), (11, -6), (11, 99), (15, 1)] {
            assert_eq!(fault(signal, code), None, "{signal} {code}");
        }
    }

    #[test]
    fn who_sent_a_signal_is_told_as_far_as_the_process_could_see() {
        let sent_by = |pid| {
            let sender = Some(Sender { pid, uid: 1000 });
            let cause = Cause {
                signal: 15,
                sender,
                ..Cause::default()
            };
            origin(&cause, 4711)
        };
        assert_eq!(sent_by(1), ", sent by process 1 of user 1000,");
        assert_eq!(sent_by(4711), ", sent by itself,");
        assert!(sent_by(0).contains("outside of its pid namespace"));
    }

    #[test]
    fn an_address_that_the_kernel_did_not_give_is_not_shown_as_0() {
        let fault = |code, address| Cause {
            signal: 11,
            code,
            address: Some(address),
            ..Cause::default()
        };
        assert_eq!(
            origin(&fault(1, 8), 1),
            " (address not mapped) at address 0x8"
        );
        assert_eq!(address(&fault(1, 0)), Some(0));
        assert_eq!(address(&fault(SI_KERNEL, 0)), None);
        assert_eq!(
            origin(&fault(SI_KERNEL, 0), 1),
            ", raised by the kernel without an address,"
        );
    }
}
