//! The daemon that dies: an ordinary axum service, recorded by ttlog.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::{Instrument, Level, Span, debug, error, field, info, instrument, trace, warn};

/// The daemon outlives no parent that died without killing it.
const LIFE: Duration = Duration::from_secs(30);

/// What supervisors end a daemon by.
pub(crate) const SIGTERM: i32 = 15;

/// Orders above this are declined, in cents.
const CREDIT_LIMIT: u64 = 90_000;

/// Serves until it is killed, with its recording in `directory`.
pub(crate) fn run(directory: PathBuf) -> crate::Result<()> {
    let _recorder = ttlog::builder()
        .name("crash")
        .filter("trace")
        .directory(&directory)
        .snapshot_directory(&directory)
        .terminate_on(SIGTERM)
        .init()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("worker")
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> crate::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    info!(port, "listening");
    println!("{port}");
    io::stdout().flush()?;
    let (start, mut started) = mpsc::channel(1);
    let serving = axum::serve(listener, router(start)).into_future();
    tokio::select! {
        served = timeout(LIFE, serving) => match served {
            Ok(served) => Ok(served?),
            Err(_) => Err("nobody killed the daemon".into()),
        },
        Some(audit) = started.recv() => {
            // A panic of a task ends the task; this one is the daemon's business.
            let audit: JoinHandle<()> = audit;
            audit.await.expect("the audit is done");
            Ok(())
        }
    }
}

fn router(start: Audits) -> Router {
    let span = DefaultMakeSpan::new().level(Level::INFO);
    Router::new()
        .route("/users/{id}", get(user))
        .route("/orders", post(order))
        .route("/report", get(report))
        .route("/die/{how}", get(die))
        .with_state(start)
        .layer(TraceLayer::new_for_http().make_span_with(span))
}

/// Where tasks go that `main` waits for.
type Audits = mpsc::Sender<JoinHandle<()>>;

/// Dies as it is asked to, in the middle of a request.
#[instrument(level = "info", skip(audits))]
async fn die(State(audits): State<Audits>, Path(how): Path<String>) -> StatusCode {
    warn!("about to die");
    match how.as_str() {
        "panic" => {
            let audit = tokio::spawn(audit(99).in_current_span());
            let _ = audits.send(audit).await;
        }
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "segv" => {
            let nowhere = std::hint::black_box(std::ptr::null::<u64>().wrapping_add(1));
            // SAFETY: none: this is the fault that was asked for.
            let read = unsafe { nowhere.read_volatile() };
            std::hint::black_box(read);
        }
        "overflow" => drop(deeper(1)),
        _ => return StatusCode::NOT_FOUND,
    }
    sleep(LIFE).await;
    StatusCode::OK
}

/// A task that finds what must not be.
#[instrument(level = "info")]
async fn audit(account: u64) {
    sleep(Duration::from_millis(1)).await;
    panic!("account {account} is overdrawn");
}

/// Needs a stack without an end.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    deeper(depth + 1) + room[7]
}

async fn user(Path(id): Path<u64>) -> Result<String, StatusCode> {
    let rows = query("users", Duration::from_millis(2)).await;
    if id.is_multiple_of(50) {
        warn!(user_id = id, "no such user");
        return Err(StatusCode::NOT_FOUND);
    }
    info!(user_id = id, rows, "user found");
    Ok(format!("user {id}\n"))
}

#[derive(Debug, Deserialize)]
struct Order {
    user_id: u64,
    amount: u64,
}

async fn order(Json(order): Json<Order>) -> Result<&'static str, StatusCode> {
    let Order { user_id, amount } = order;
    debug!(?order, "order received");
    charge(user_id, amount).await?;
    query("orders", Duration::from_millis(1)).await;
    info!(user_id, amount, "order placed");
    Ok("placed\n")
}

#[instrument(level = "info", fields(payment))]
async fn charge(user_id: u64, amount: u64) -> Result<(), StatusCode> {
    sleep(Duration::from_millis(1)).await;
    if amount > CREDIT_LIMIT {
        error!(limit = CREDIT_LIMIT, "payment declined");
        return Err(StatusCode::PAYMENT_REQUIRED);
    }
    Span::current().record("payment", user_id << 32 | amount);
    trace!("payment booked");
    Ok(())
}

/// Slow enough that one is in flight whenever the daemon is killed.
async fn report() -> String {
    info!("report started");
    let rows = query("orders", Duration::from_millis(1_200)).await;
    info!(rows, "report done");
    format!("{rows} rows\n")
}

/// What a database would do: it takes its time.
#[instrument(level = "info", skip(duration), fields(rows = field::Empty))]
async fn query(table: &str, duration: Duration) -> u64 {
    trace!("connection taken from the pool");
    sleep(duration).await;
    let rows = duration.as_millis() as u64;
    Span::current().record("rows", rows);
    trace!("connection returned");
    rows
}
