//! The stepper: it has a process die after each single instruction, as far as whoever reads
//! its recording can tell.
//!
//! It traces the program `stepped` (ptrace(2)), and lets the threads that are to be seen go
//! on by one instruction at a time. After each it compares the recording with what it was,
//! and where anything is different, reads it as if the process were dead: what returned is
//! there, nothing is false or twice, the account adds up, and no other verdict is given than
//! one that may be. Before there is a recording, it looks for one: there is none, or a whole
//! one.
//!
//! What is not done in single steps: system calls, and the kernel's own code for its clocks
//! (the vDSO), which reads them in a loop that ends once no tick has come in between, and in
//! steps might never end.
//!
//! To compare a mebibyte takes longer than all else. An instruction can store there only if
//! it stores at all and a register holds an address of there, or if it is a system call:
//! else it is not compared. That this is true is seen to once in `UNCOMPARED` of these, where
//! no other thread can have stored meanwhile: threads that are not stepped run beside the
//! one that is, and of two that are, each goes on while the other is looked after.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;
use ttlog_format::BLOCK_BYTES;
use ttlog_format::block::{self, State};
use ttlog_format::header::HEADER_BYTES;
use ttlog_format::salvage::{Recording, What as Entry};
use ttlog_format::value::Value;

use crate::image::Image;
use crate::stepped::{MARK, MAYFLY, NUMBERS, Number, PHASES, Phase, Scene};
use crate::stores::may_store;
use crate::traced::{self, mapped, mapped_file, registers};
use crate::{Adapter, Plan, Victim, Violation, What, acks, check, stepped, victim};

/// How many instructions that cannot have changed anything may go by before it is seen to
/// that they have not.
const UNCOMPARED: u64 = 1024;

/// More than an event and what happens to spans around it append to a block, in bytes.
const ACT_BYTES: usize = 640;

/// What was seen of a phase.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What is played.
    pub scene: Scene,
    /// What of it.
    pub phase: Phase,
    /// Instructions that were stepped.
    pub instructions: u64,
    /// How often the recording, or what must be in it, was different after one.
    pub states: u64,
    /// Events that returned meanwhile.
    pub events: u64,
    /// How often it was seen to that what cannot store had not.
    pub compared: u64,
    /// How many states told something false.
    pub violations: u64,
    /// What the first of them told.
    pub first: Option<String>,
}

/// Has `program`, which is the binary `stepped`, play a scene, and steps what is to be seen
/// of it. Its recorder does the `bug` of this name, if it can do any. `progress` is told
/// what was seen so far of a phase: now and then, at its end, and when anything false was
/// told; and says whether to go on.
///
/// # Errors
/// Tracing is not permitted here.
pub fn play(
    program: &Path,
    scene: Scene,
    adapter: Adapter,
    bug: Option<&str>,
    progress: &mut dyn FnMut(&Figures) -> ControlFlow<()>,
) -> io::Result<Vec<Figures>> {
    let mut plan = Plan::new(What::Wait)
        .adapter(adapter)
        .capacity_mib(1)
        .span_slots(16)
        .env("RUST_BACKTRACE", "0");
    if let Some(bug) = bug {
        plan = plan.env(crate::build::BUG, bug);
    }
    let victim = Victim::start_traced(program, &scene.name(), &plan)?;
    let mut stepper = Stepper::new(victim, scene, progress);
    stepper.plays();
    Ok(stepper.seen)
}

/// A process that is traced, and its recording as it lies there.
struct Stepper<'p> {
    victim: Victim,
    scene: Scene,
    phase: Phase,
    seen: Vec<Figures>,
    progress: &'p mut dyn FnMut(&Figures) -> ControlFlow<()>,
    /// Nobody wants to see more.
    is_over: bool,
    /// By their ids.
    threads: HashMap<Pid, Thread>,
    vdso: Range<u64>,
    /// Where the recording and the counters are mapped.
    watched: Vec<Range<u64>>,
    /// By the address of an instruction, whether it may store.
    instructions: HashMap<u64, bool>,
    /// Where threads have left the vDSO.
    returns: HashSet<u64>,
    uncompared: u64,
    /// How often the threads but the one that went on had come to rest before somebody
    /// looked, if all were at rest and none has ended since.
    others: Option<HashMap<Pid, String>>,
    events_before: u64,
    eye: Eye,
}

/// A thread of it.
#[derive(Clone, Copy)]
struct Thread {
    is_stepped: bool,
    /// Where its next instruction lies, as far as that was asked.
    at: u64,
    /// Whether that may change what is watched.
    may_store: bool,
}

impl Thread {
    /// One whose next instruction may do anything.
    fn new(is_stepped: bool) -> Thread {
        let may_store = true;
        Thread {
            is_stepped,
            at: 0,
            may_store,
        }
    }
}

/// Where the process stopped, or ended.
enum Stop {
    /// After an instruction, or before the first.
    Step,
    /// At a mark.
    Mark(Phase),
    /// At a signal that it is to be given.
    Signal(Signal),
    /// There is another thread.
    Clone,
}

impl<'p> Stepper<'p> {
    fn new(
        victim: Victim,
        scene: Scene,
        progress: &'p mut dyn FnMut(&Figures) -> ControlFlow<()>,
    ) -> Stepper<'p> {
        let pid = victim.pid();
        waitpid(pid, None).expect("the stop at its exec");
        let options = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).expect("options");
        let vdso = mapped(pid, |line| line.ends_with("[vdso]"));
        let eye = Eye::new(victim.directory().to_owned());
        Stepper {
            threads: HashMap::from([(pid, Thread::new(false))]),
            victim,
            scene,
            phase: Phase::Unseen,
            seen: Vec::new(),
            progress,
            is_over: false,
            vdso,
            watched: Vec::new(),
            instructions: HashMap::new(),
            returns: HashSet::new(),
            uncompared: 0,
            others: None,
            events_before: 0,
            eye,
        }
    }

    fn plays(&mut self) {
        let pid = self.victim.pid();
        ptrace::cont(pid, None).expect("it goes on");
        // All threads that this one traces, and nobody else's children.
        let own = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let status = waitpid(None, Some(own)).expect("a stop");
            match status {
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, _, _) => {
                    self.threads.remove(&thread);
                    self.others = None;
                    if thread == pid {
                        break;
                    }
                }
                // It was killed.
                _ if self.is_over => {}
                _ => self.goes_on(status),
            }
        }
        if !self.is_over {
            self.eye.is_dead = true;
            self.looks();
            self.ends_phase();
        }
    }

    /// Sees to a thread that has stopped, and lets it go on.
    fn goes_on(&mut self, status: WaitStatus) {
        let thread = status.pid().expect("a thread");
        let is_new = !self.threads.contains_key(&thread);
        let begins = Thread::new(self.steps_new_threads());
        let before = *self.threads.entry(thread).or_insert(begins);
        let stop = match status {
            _ if is_new => Stop::Step,
            WaitStatus::Stopped(_, Signal::SIGTRAP) => self.stop_of(thread, before.is_stepped),
            WaitStatus::Stopped(_, signal) => Stop::Signal(signal),
            WaitStatus::PtraceEvent(..) => Stop::Clone,
            other => panic!("no stop: {other:?}"),
        };
        let is_step = matches!(stop, Stop::Step | Stop::Mark(_)) && !is_new;
        if before.is_stepped && is_step {
            self.figures().instructions += 1;
            self.looks_after(thread, before);
        }
        let mut signal = None;
        match stop {
            Stop::Mark(phase) => self.is_at(thread, phase),
            Stop::Signal(given) => signal = Some(given),
            Stop::Step | Stop::Clone => {}
        }
        let go_on = match self.threads[&thread].is_stepped {
            true => ptrace::step(thread, signal),
            false => ptrace::cont(thread, signal),
        };
        // Who is killed meanwhile needs nobody's leave.
        assert!(
            matches!(go_on, Ok(()) | Err(nix::Error::ESRCH)),
            "{go_on:?}"
        );
    }

    /// Whether threads are stepped that begin now: not those which do what takes long,
    /// while the one that is stepped waits.
    fn steps_new_threads(&self) -> bool {
        !matches!(self.phase, Phase::Unseen | Phase::Switch | Phase::Death)
    }

    /// Why a thread has stopped that was trapped.
    fn stop_of(&mut self, thread: Pid, is_stepped: bool) -> Stop {
        let mut registers = registers(thread);
        let is_asked =
            !is_stepped || registers.rsi == MARK || self.returns.contains(&registers.rip);
        let info = is_asked.then(|| ptrace::getsiginfo(thread).expect("why it stopped"));
        let code = info.map_or(libc::TRAP_TRACE, |info| info.si_code);
        if code == libc::SI_KERNEL {
            if registers.rsi == MARK {
                return Stop::Mark(PHASES[registers.rdi as usize]);
            }
            // Another's breakpoint at the end of the vDSO, which is gone by now.
            registers.rip -= 1;
            ptrace::setregs(thread, registers).expect("registers");
        } else if is_stepped && self.vdso.contains(&registers.rip) {
            return self.leaves_the_vdso(thread);
        } else if code <= 0 {
            return Stop::Signal(Signal::SIGTRAP);
        }
        Stop::Step
    }

    /// Lets it run from its first instruction in the vDSO to the return, by a
    /// breakpoint there.
    fn leaves_the_vdso(&mut self, thread: Pid) -> Stop {
        const BREAKPOINT: i64 = 0xcc;
        let address = |address: u64| address as ptrace::AddressType;
        let back = ptrace::read(thread, address(registers(thread).rsp)).expect("the return") as u64;
        self.returns.insert(back + 1);
        let code = ptrace::read(thread, address(back)).expect("the code there");
        ptrace::write(thread, address(back), code & !0xff | BREAKPOINT).expect("a breakpoint");
        ptrace::cont(thread, None).expect("it goes on");
        let stop = waitpid(thread, Some(WaitPidFlag::__WALL)).expect("a stop");
        assert!(
            matches!(stop, WaitStatus::Stopped(_, Signal::SIGTRAP)),
            "{stop:?}"
        );
        ptrace::write(thread, address(back), code).expect("the code as it was");
        let mut registers = registers(thread);
        assert_eq!(registers.rip, back + 1, "it stopped elsewhere");
        registers.rip = back;
        ptrace::setregs(thread, registers).expect("registers");
        Stop::Step
    }

    /// A thread says what it does next.
    fn is_at(&mut self, thread: Pid, phase: Phase) {
        if self.phase != phase {
            self.ends_phase();
            self.phase = phase;
        }
        self.finds_what_is_watched();
        let is_stepped = match phase {
            Phase::Unseen => false,
            Phase::Switch => self.eye.is_near_the_end_of_a_block(),
            _ => true,
        };
        self.threads.insert(thread, Thread::new(is_stepped));
        if is_stepped {
            self.looks();
        }
    }

    /// The figures of the phase that is played.
    fn figures(&mut self) -> &mut Figures {
        // What is found at the very end is of the last phase that was seen.
        let is_unseen = self.phase == Phase::Unseen;
        let last = self.seen.last();
        if !last.is_some_and(|last| is_unseen || last.phase == self.phase) {
            self.events_before = self.eye.events();
            self.seen.push(Figures {
                scene: self.scene,
                phase: self.phase,
                instructions: 0,
                states: 0,
                events: 0,
                compared: 0,
                violations: 0,
                first: None,
            });
        }
        self.seen.last_mut().expect("pushed")
    }

    fn ends_phase(&mut self) {
        if self.phase != Phase::Unseen {
            let events = self.eye.events() - self.events_before;
            self.figures().events = events;
            self.tells();
        }
    }

    /// Tells what was seen so far of the phase.
    fn tells(&mut self) {
        let figures = self.figures().clone();
        if (self.progress)(&figures).is_break() {
            self.is_over = true;
            // Who is dead by now cannot be killed.
            let _ = kill(self.victim.pid(), Signal::SIGKILL);
        }
    }

    /// Finds the recording, once it is there, and where it and the counters are mapped.
    fn finds_what_is_watched(&mut self) {
        if self.watched.is_empty() && self.eye.finds_the_recording() {
            let pid = self.victim.pid();
            let mapped = self.eye.inodes().map(|inode| mapped_file(pid, inode));
            // What has its name already may not be mapped yet.
            if mapped.iter().all(|range| !range.is_empty()) {
                self.watched = mapped.into();
            }
        }
    }

    /// Looks, if anything may be different after a thread's instruction.
    fn looks_after(&mut self, thread: Pid, before: Thread) {
        let registers = ptrace::getregs(thread).ok();
        // As syscall(2) leaves it.
        let was_call = registers.is_none_or(|registers| registers.rcx == registers.rip);
        if was_call {
            self.finds_what_is_watched();
        }
        let may_store = registers.is_none_or(|registers| {
            self.hold_an_address(&registers) && self.may_store(thread, registers.rip)
        });
        let at = registers.map_or(0, |registers| registers.rip);
        let next = Thread {
            at,
            may_store,
            ..before
        };
        self.threads.insert(thread, next);
        if before.may_store || was_call {
            self.looks();
            return;
        }
        self.uncompared += 1;
        if self.uncompared.is_multiple_of(UNCOMPARED) {
            self.compares(thread, before.at);
        }
    }

    /// Sees to it that nothing is different, though nobody has looked since a thread's last
    /// instruction that may store. Where others may have stored since, that tells nothing.
    fn compares(&mut self, thread: Pid, at: u64) {
        let states = self.figures().states;
        self.looks();
        let others = self.others_at_rest(thread);
        if others.is_none() || others != self.others {
            self.others = others;
            self.looks();
            return;
        }
        let figures = self.figures();
        figures.compared += 1;
        assert!(figures.states == states, "{}", self.what_stored(thread, at));
    }

    /// How often each thread but this has come to rest, if all are at rest.
    fn others_at_rest(&self, thread: Pid) -> Option<HashMap<Pid, String>> {
        let process = self.victim.pid();
        let others = self.threads.keys().filter(|&&other| other != thread);
        others
            .map(|&other| Some((other, traced::rest(process, other)?)))
            .collect()
    }

    /// Says which instruction of a thread was the last before something was different that
    /// none could have stored.
    fn what_stored(&self, thread: Pid, at: u64) -> String {
        let process = self.victim.pid();
        let code = traced::bytes(thread, at);
        format!(
            "what could not store has stored: {code:02x?} at {at:#x}, {}, of {}, a thread of {}: {}",
            traced::place(process, at),
            traced::name(process, thread),
            self.threads.len(),
            self.eye.difference(),
        )
    }

    /// Whether the instruction at an address may store.
    fn may_store(&mut self, thread: Pid, at: u64) -> bool {
        let look = || traced::bytes(thread, at).is_none_or(may_store);
        *self.instructions.entry(at).or_insert_with(look)
    }

    /// Whether a register holds an address of what is watched.
    fn hold_an_address(&self, registers: &libc::user_regs_struct) -> bool {
        let held = [
            registers.rax,
            registers.rbx,
            registers.rcx,
            registers.rdx,
            registers.rsi,
            registers.rdi,
            registers.rbp,
            registers.r8,
            registers.r9,
            registers.r10,
            registers.r11,
            registers.r12,
            registers.r13,
            registers.r14,
            registers.r15,
        ];
        // The end is where a loop may count backwards from.
        let is_in = |range: &Range<u64>, address| (range.start..=range.end).contains(address);
        let watched = |address| self.watched.iter().any(|range| is_in(range, address));
        held.iter().any(watched)
    }

    /// Reads what a reader would find, had the process died here.
    fn looks(&mut self) {
        const NOW_AND_THEN: u64 = 256;
        let Some(told) = self.eye.looks(self.scene, self.phase) else {
            return;
        };
        let figures = self.figures();
        figures.states += 1;
        let instructions = figures.instructions;
        if let Err(violation) = told {
            figures.violations += 1;
            let words = format!("after {instructions} instructions: {violation}");
            figures.first.get_or_insert(words);
            self.tells();
        } else if figures.states.is_multiple_of(NOW_AND_THEN) {
            self.tells();
        }
    }
}

/// Whoever reads the recording.
struct Eye {
    directory: PathBuf,
    acks: Option<File>,
    recording: Option<File>,
    image: Image,
    spare: Image,
    acked: Vec<u64>,
    read: Option<Recording>,
    /// The process is.
    is_dead: bool,
    /// The verdict that was given last.
    verdict: String,
    scratch: TempDir,
}

impl Eye {
    fn new(directory: PathBuf) -> Eye {
        Eye {
            directory,
            acks: None,
            recording: None,
            image: Image::default(),
            spare: Image::default(),
            acked: Vec::new(),
            read: None,
            is_dead: false,
            verdict: String::new(),
            scratch: victim::scratch(),
        }
    }

    /// Opens the recording once it is there; whether it is.
    fn finds_the_recording(&mut self) -> bool {
        if self.recording.is_none() {
            let there = victim::files(&self.directory).into_iter();
            let path = there.into_iter().find(|path| is_a_recording(path));
            self.recording = path.and_then(|path| File::open(path).ok());
        }
        self.recording.is_some()
    }

    /// Of the recording and the file of counters.
    fn inodes(&self) -> [u64; 2] {
        let acks = self.directory.with_file_name("acks");
        let acks = std::fs::metadata(acks).expect("counters");
        let recording = self.recording.as_ref().expect("found").metadata();
        [recording.expect("a recording").ino(), acks.ino()]
    }

    /// What is found where anything is different, `None` where nothing is.
    fn looks(&mut self, scene: Scene, phase: Phase) -> Option<Result<(), Violation>> {
        if !self.finds_the_recording() {
            return None;
        }
        let acks = self.directory.with_file_name("acks");
        let acks = self
            .acks
            .get_or_insert_with(|| File::open(acks).expect("acknowledgements"));
        let acked = acks::read(acks).expect("acknowledgements");
        let recording = self.recording.as_ref().expect("found");
        let changed = self.image.refresh(recording, &mut self.spare);
        let changed = changed.expect("readable") || self.read.is_none();
        if !changed && acked == self.acked && !self.is_dead {
            return None;
        }
        self.acked = acked;
        if changed {
            self.read = match self.image.salvage() {
                Ok(read) => Some(read),
                Err(error) => return Some(Err(Violation::new(format!("{error:?}")))),
            };
        }
        Some(self.judges(scene, phase))
    }

    /// Where the recording is not what it was before somebody looked last.
    fn difference(&self) -> String {
        let place = self.image.difference(&self.spare);
        place.map_or_else(
            || String::from("the counters are different"),
            |place| format!("the recording is different at {place:#x?}"),
        )
    }

    fn judges(&mut self, scene: Scene, phase: Phase) -> Result<(), Violation> {
        let read = self.read.as_ref().expect("read");
        let is_mortal = |worker| worker >= stepped::FIRST_MORTAL;
        check::story_of_some(read, &self.acked, MAYFLY, is_mortal)?;
        numbers(read, &self.acked)?;
        if matches!(phase, Phase::Start | Phase::Death) || self.is_dead {
            let verdict = self.verdict(scene)?;
            self.verdict = verdict;
        }
        Ok(())
    }

    /// The verdict of a process that is dead: until a cause is there, that it was killed,
    /// and from then on what it died of.
    fn verdict(&self, scene: Scene) -> Result<String, Violation> {
        let read = self.read.as_ref().expect("read");
        let mut header = read.header.clone();
        // The process's id is another's by now.
        header.start_time = 1;
        let (mut bytes, header) = (self.image.bytes().to_vec(), header.encode());
        for at in [0, read.header.layout.copy_offset() as usize] {
            bytes[at..at + HEADER_BYTES].copy_from_slice(&header[..]);
        }
        let path = self.scratch.path().join("ttlog-1-1.ring");
        std::fs::write(&path, bytes).expect("written");
        let opened =
            ttlog_reader::open(&path).map_err(|error| Violation::new(error.to_string()))?;
        let found = opened.verdict.kind.to_string();
        let may_be_killed = !self.is_dead && self.verdict != scene.verdict();
        if found == scene.verdict() || may_be_killed && found == "killed" {
            return Ok(found);
        }
        let words = format!(
            "it is said to have {found}, and before that {}",
            self.verdict
        );
        Err(Violation::new(words))
    }

    /// Events of all workers that have returned.
    fn events(&self) -> u64 {
        self.acked.iter().skip(1).take(MAYFLY as usize).sum()
    }

    /// Whether the next act may not have room in the block that the main thread writes to,
    /// and what is newest in the recording.
    fn is_near_the_end_of_a_block(&mut self) -> bool {
        let recording = self.recording.as_ref().expect("found");
        let changed = self.image.refresh(recording, &mut self.spare);
        if changed.expect("readable") {
            self.read = None;
        }
        let read = self
            .read
            .get_or_insert_with(|| self.image.salvage().expect("a recording"));
        let layout = read.header.layout;
        let from = layout.pool_offset() as usize;
        let pool = &self.image.bytes()[from..layout.copy_offset() as usize];
        let blocks = pool.as_chunks::<BLOCK_BYTES>().0.iter();
        let newest = blocks.filter_map(|bytes| {
            let words = block::words_from_bytes(bytes);
            let State::Block(header) = block::decode(&words[..]) else {
                return None;
            };
            let commit = block::committed(&words[..], header.key())?;
            header
                .thread_name
                .starts_with(b"main\0")
                .then_some((header.sequence, commit.bytes))
        });
        newest
            .max()
            .is_some_and(|(_, bytes)| BLOCK_BYTES - bytes < ACT_BYTES)
    }
}

/// Checks that each number is as large as it must be, and no larger than it may.
fn numbers(recording: &Recording, acked: &[u64]) -> Result<(), Violation> {
    for number in NUMBERS {
        let [least, most] = number.counters().map(|counter| acked[counter as usize]);
        let found = number_in(recording, number);
        if !(least..=most).contains(&found) {
            let words = format!("{number:?} is {found}, not {least} to {most}");
            return Err(Violation::new(words));
        }
    }
    Ok(())
}

fn number_in(recording: &Recording, number: Number) -> u64 {
    let is_task = |id: &_| {
        let span = recording.spans.get(id);
        let site = span.and_then(|span| recording.sites.get(&span.site));
        site.is_some_and(|site| site.name == "task")
    };
    let tasks = recording.spans.iter().filter(|(id, _)| is_task(id));
    let count = match number {
        Number::Open => tasks.filter(|(_, span)| span.open).count(),
        Number::Depth => {
            let stacks = recording.threads.iter().flat_map(|thread| &thread.stack);
            stacks.filter(|id| is_task(id)).count()
        }
        Number::Follows => {
            let entries = recording.entries.iter();
            entries
                .filter(|entry| matches!(entry.what, Entry::Follows(_)))
                .count()
        }
        Number::Step => {
            let steps = tasks.flat_map(|(_, span)| check::span_fields(recording, span));
            let steps = steps.filter_map(|(name, value)| match value {
                Value::U64(step) if name == "step" => Some(step),
                _ => None,
            });
            return steps.max().unwrap_or(0);
        }
        Number::WithoutSlot => return recording.ledger.spans_without_slot,
    };
    count as u64
}

fn is_a_recording(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("ttlog-") && name.ends_with(".ring"))
}
