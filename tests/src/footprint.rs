//! How much memory a process takes, counted page by page (proc_pid_smaps(5)): the sums
//! in `/proc/<pid>/status` are off by some pages for every processor.

/// What is mapped and there, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Private memory.
    pub anonymous: u64,
    /// Files on a tmpfs.
    pub shared: u64,
}

impl Footprint {
    /// The calling process's.
    pub fn now() -> Footprint {
        Footprint::of("self")
    }

    /// That of the process with this id.
    ///
    /// # Panics
    /// If there is none, or the kernel tells no sums.
    pub fn of(pid: &str) -> Footprint {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("sums");
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            number.expect(name).trim().parse().expect("a number")
        };
        Footprint {
            anonymous: number("Anonymous:"),
            shared: number("Pss_Shmem:"),
        }
    }
}
