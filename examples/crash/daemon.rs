//! The daemon that dies: an ordinary axum service, recorded by ttlog.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::{Level, Span, debug, error, field, info, instrument, trace, warn};

/// The daemon outlives no parent that died without killing it.
const LIFE: Duration = Duration::from_secs(30);

/// Orders above this are declined, in cents.
const CREDIT_LIMIT: u64 = 90_000;

/// Serves until it is killed, with its recording in `directory`.
pub(crate) fn run(directory: PathBuf) -> crate::Result<()> {
    let _recorder = ttlog::builder()
        .name("crash")
        .filter("trace")
        .directory(directory)
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
    match timeout(LIFE, axum::serve(listener, router()).into_future()).await {
        Ok(served) => Ok(served?),
        Err(_) => Err("nobody killed the daemon".into()),
    }
}

fn router() -> Router {
    let span = DefaultMakeSpan::new().level(Level::INFO);
    Router::new()
        .route("/users/{id}", get(user))
        .route("/orders", post(order))
        .route("/report", get(report))
        .layer(TraceLayer::new_for_http().make_span_with(span))
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
