//! Dead after any one instruction: what a reader finds then is whole.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs::File;
use std::ops::Range;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use ttlog_format::BLOCK_BYTES;
use ttlog_format::block::{self, State};
use ttlog_format::salvage::Recording;
use ttlog_tests::image::Image;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Plan, Victim, What, acks, check, story};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// A victim that is stopped, and the recording as it lies there.
struct Stepper {
    victim: Victim,
    acks: File,
    recording: File,
    image: Image,
    spare: Image,
    read: Option<Recording>,
    checked: Vec<u64>,
    steps: u64,
    vdso: Range<u64>,
}

/// Where a victim stopped.
#[derive(PartialEq)]
enum Stop {
    /// After one instruction.
    Step,
    /// Before its next act.
    Act,
}

impl Stepper {
    fn start(adapter: Adapter) -> Option<Stepper> {
        let plan = Plan::new(What::Step)
            .adapter(adapter)
            .capacity_mib(1)
            .span_slots(16);
        let victim = match Victim::start_traced(VICTIM, &plan) {
            Ok(victim) => victim,
            Err(error) => {
                eprintln!("SKIPPED: ptrace is not permitted here: {error}");
                return None;
            }
        };
        waitpid(victim.pid(), None).expect("the stop at its exec");
        run_to_act(&victim);
        let recording = File::open(victim.path()).expect("its recording");
        let acks = victim.ack_file();
        let vdso = vdso(victim.pid());
        Some(Stepper {
            victim,
            acks,
            recording,
            image: Image::default(),
            spare: Image::default(),
            read: None,
            checked: Vec::new(),
            steps: 0,
            vdso,
        })
    }

    /// Lets it do its next act, at full speed.
    fn runs_an_act(&mut self) {
        run_to_act(&self.victim);
        self.dies_here();
    }

    /// Lets it do its next act, instruction by instruction, and reads after each.
    fn steps_an_act(&mut self) {
        loop {
            let pid = self.victim.pid();
            ptrace::step(pid, None).expect("a step");
            let mut stop = stop_of(&self.victim);
            self.steps += 1;
            if stop == Stop::Step && self.vdso.contains(&registers(pid).rip) {
                stop = self.leaves_the_vdso();
            }
            self.dies_here();
            if stop == Stop::Act {
                return;
            }
        }
    }

    /// Lets it run from its first instruction in the vDSO to the return, by a
    /// breakpoint there. The kernel's clocks are read in a loop that ends once no
    /// tick has come in between: in steps it might never end.
    fn leaves_the_vdso(&self) -> Stop {
        const BREAKPOINT: i64 = 0xcc;
        let pid = self.victim.pid();
        let address = |address: u64| address as ptrace::AddressType;
        let back = ptrace::read(pid, address(registers(pid).rsp)).expect("the return") as u64;
        let code = ptrace::read(pid, address(back)).expect("the code there");
        ptrace::write(pid, address(back), code & !0xff | BREAKPOINT).expect("a breakpoint");
        ptrace::cont(pid, None).expect("it goes on");
        let stop = stop_of(&self.victim);
        ptrace::write(pid, address(back), code).expect("the code as it was");
        let mut registers = registers(pid);
        assert_eq!(registers.rip, back + 1, "it stopped elsewhere");
        registers.rip = back;
        ptrace::setregs(pid, registers).expect("registers");
        stop
    }

    /// Reads what a reader would find, had the victim died here.
    fn dies_here(&mut self) {
        let acked = acks::read(&self.acks).expect("acknowledgements");
        let changed = self
            .image
            .refresh(&self.recording, &mut self.spare)
            .expect("readable");
        if !changed && acked == self.checked {
            return;
        }
        if changed || self.read.is_none() {
            self.read = Some(self.image.salvage().expect("a recording"));
        }
        let read = self.read.as_ref().expect("read");
        if let Err(violation) = check::story(read, &acked, 1) {
            panic!(
                "after {} steps, {} events: {violation}",
                self.steps, acked[1]
            );
        }
        self.checked = acked;
    }

    /// Bytes committed in the worker's newest block, and the sequence of that block.
    fn newest_block(&self) -> (u64, usize) {
        let layout = self.read.as_ref().expect("read").header.layout;
        let from = layout.pool_offset() as usize;
        let pool = &self.image.bytes()[from..layout.copy_offset() as usize];
        let newest = pool
            .as_chunks::<BLOCK_BYTES>()
            .0
            .iter()
            .filter_map(|bytes| {
                let words = block::words_from_bytes(bytes);
                let State::Block(header) = block::decode(&words[..]) else {
                    return None;
                };
                let records = header.kind == block::Kind::Records;
                let commit = block::committed(&words[..], header.key()).expect("a commit word");
                records.then_some((header.sequence, commit.bytes))
            });
        newest.max().expect("a block")
    }
}

fn registers(pid: Pid) -> nix::libc::user_regs_struct {
    ptrace::getregs(pid).expect("registers")
}

/// Where the kernel's code lies that is run without a call of it.
fn vdso(pid: Pid) -> Range<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("proc(5)");
    let line = maps.lines().find(|line| line.ends_with("[vdso]"));
    let range = line.and_then(|line| line.split_once(' ')?.0.split_once('-'));
    let address = |text| u64::from_str_radix(text, 16).expect("an address");
    range.map_or(0..0, |(from, to)| address(from)..address(to))
}

fn stop_of(victim: &Victim) -> Stop {
    match waitpid(victim.pid(), None).expect("a stop") {
        WaitStatus::Stopped(_, Signal::SIGSTOP) => Stop::Act,
        WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Step,
        other => panic!("neither a step nor an act: {other:?}"),
    }
}

fn run_to_act(victim: &Victim) {
    ptrace::cont(victim.pid(), None).expect("it goes on");
    assert!(stop_of(victim) == Stop::Act);
}

/// The first two turns: the first event with its call site, the first spans, and all of it again.
const FIRST_ACTS: u64 = 2 * story::TURN;

/// More than any one act appends: spans closed, opened and entered, an event.
const ACT_BYTES: usize = 512;

fn dies_after_every_instruction(adapter: Adapter) {
    let Some(mut stepper) = Stepper::start(adapter) else {
        return;
    };
    stepper.dies_here();
    for _ in 0..FIRST_ACTS {
        stepper.steps_an_act();
    }
    // Now to the end of a block, and over it, twice; a turn fits in a block a few times.
    let mut switches = 0;
    let mut before = stepper.newest_block();
    while switches < 2 {
        let near_the_end = BLOCK_BYTES - before.1 < ACT_BYTES;
        if near_the_end {
            stepper.steps_an_act()
        } else {
            stepper.runs_an_act()
        }
        let after = stepper.newest_block();
        if after.0 != before.0 {
            assert!(
                near_the_end,
                "it took a block with {} bytes left",
                BLOCK_BYTES - before.1
            );
            switches += 1;
        }
        before = after;
    }
    println!(
        "{adapter:?}: {} steps, {} events",
        stepper.steps, stepper.checked[1]
    );
    assert!(stepper.steps > 5000);
}

#[test]
fn dead_after_any_instruction_of_the_own_subscriber() {
    dies_after_every_instruction(ADAPTERS[0]);
}

#[test]
fn dead_after_any_instruction_of_the_layer() {
    dies_after_every_instruction(ADAPTERS[1]);
}
