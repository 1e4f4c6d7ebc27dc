//! Records canaries under denied names, in every way, and is killed: the program of
//! `ttlog_tests::secrets`, which says what they are. It prints how often the code of a
//! denied value ran.

use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Empty, debug, display};
use tracing::{error, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use ttlog_tests::secrets::{KEPT, number, text};

fn main() {
    // What panics say is not what this is about.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().collect();
    let [_, adapter, setup, directory] = &arguments[..] else {
        panic!("secrets ADAPTER SETUP DIRECTORY");
    };
    let recorder = set_up(setup, Path::new(directory));
    match adapter.as_str() {
        "layer" => tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(recorder.layer()),
        ),
        _ => tracing::subscriber::set_global_default(recorder.subscriber()),
    }
    .expect("no other subscriber");
    everything();
    let _ = std::panic::catch_unwind(|| {
        let _span = panicking().entered();
        panic!("of something else");
    });
    let child = in_a_child();
    nix::sys::wait::waitpid(child, None).expect("a child");
    recorder.flush_snapshot("asked for").expect("a snapshot");
    println!("{}", SHOWN.load(Ordering::Relaxed));
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
}

fn set_up(setup: &str, directory: &Path) -> ttlog::Recorder {
    let builder = ttlog::builder()
        .directory(directory)
        .snapshot_directory(directory)
        .window(std::time::Duration::from_secs(3600))
        .capacity_mib(1);
    let builder = match setup {
        "NoSlots" => builder.span_slots(0),
        "Nothing" => builder.redact_nothing(),
        "Asked" => builder.redact_nothing().redact_with(|site, field| {
            site.target() == "secrets" && !["message", "note", "user_id"].contains(&field)
        }),
        _ => builder,
    };
    builder.create().expect("a recording")
}

/// A child's recording is another, of call sites that its parent has decided about.
fn in_a_child() -> nix::unistd::Pid {
    // SAFETY: the process has no other threads that could hold what the child needs.
    match unsafe { nix::unistd::fork() }.expect("a child") {
        nix::unistd::ForkResult::Parent { child } => child,
        nix::unistd::ForkResult::Child => {
            everything();
            drop(panicking().entered());
            // SAFETY: it ends the process, and nothing else of it.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

/// How often the code of a denied value has run.
static SHOWN: AtomicU64 = AtomicU64::new(0);

/// A value whose code counts.
struct Canary(&'static str);

impl Debug for Canary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        SHOWN.fetch_add(1, Ordering::Relaxed);
        f.write_str(&text(self.0))
    }
}

impl Display for Canary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

impl Error for Canary {}

/// What holds a canary as one of its parts.
#[derive(Debug)]
struct Holds {
    #[expect(dead_code, reason = "it is shown")]
    inner: Canary,
}

fn everything() {
    events();
    numbers();
    spans();
}

fn events() {
    info!(note = KEPT, password = text("str").as_str(), "str");
    info!(note = KEPT, passwd = text("string"), "string");
    info!(note = KEPT, secret = ?Canary("debug"), "debug");
    info!(note = KEPT, token = %Canary("display"), "display");
    let credentials = Holds {
        inner: Canary("struct"),
    };
    info!(note = KEPT, ?credentials, "struct");
    let failed: &(dyn Error + 'static) = &Canary("error");
    error!(note = KEPT, access_token = failed, "error");
    info!(note = KEPT, api_key = text("bytes").as_bytes(), "bytes");
    info!(note = KEPT, "set-cookie" = text("quoted"), "quoted");
}

fn numbers() {
    info!(note = KEPT, auth = number("u64"), "u64");
    info!(note = KEPT, pwd = number("i64") as i64, "i64");
    info!(
        note = KEPT,
        private_key = u128::from(number("u128")) << 32,
        "u128"
    );
    info!(
        note = KEPT,
        session_id = i128::from(number("i128")) << 32,
        "i128"
    );
    info!(
        note = KEPT,
        "user.secret" = f64::from_bits(number("f64")),
        "f64"
    );
}

fn spans() {
    let request = info_span!(
        "request",
        note = KEPT,
        authorization = text("opened"),
        apikey = ?Canary("opened-debug"),
        cookie = Empty,
        bearer = Empty
    );
    let _in_request = request.enter();
    request.record("cookie", text("later").as_str());
    request.record("bearer", debug(Canary("later-debug")));
    request.record("cookie", display(Canary("later")));
    let child = info_span!("child", note = KEPT, "csrf-token" = %Canary("child"));
    let _in_child = child.enter();
    // As many as go through several blocks, each of which describes the spans.
    (0..300).for_each(|user_id| info!(user_id, note = KEPT, "in both"));
}

fn panicking() -> tracing::Span {
    info_span!("panicking", note = KEPT, passphrase = ?Canary("panicking"))
}
