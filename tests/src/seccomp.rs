//! Filters of system calls, as sandboxes have them.

use nix::libc;

/// From now on, what the calling thread and its children get for a system call is
/// `answer` (seccomp(2), `SECCOMP_RET_…`).
///
/// # Panics
/// Where there are no filters.
pub fn forbid(call: libc::c_long, answer: u32) {
    let statement = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let (load, equal) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ,
    );
    let mut filter = [
        statement(load, 0, 0, 0),
        statement(equal | libc::BPF_K, 0, 1, call as u32),
        statement(libc::BPF_RET, 0, 0, answer),
        statement(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: it takes no pointer.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(set, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the kernel copies the program, which is valid.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
