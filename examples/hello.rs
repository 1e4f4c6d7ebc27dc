//! The least a program does to be recorded, and a minute in which to kill it.
//!
//! ```text
//! cargo run --example hello &
//! kill -9 PID
//! cargo run -p ttlog-reader -- view PID
//! ```

use std::time::Duration;
use tracing::{info, info_span, warn};

fn main() -> Result<(), ttlog::Error> {
    let _recorder = ttlog::init()?;

    let _request = info_span!("request", id = 7).entered();
    info!(user_id = 42, "user logged in");
    let _query = info_span!("query", table = "users").entered();
    warn!(attempts = 3, "password about to expire");

    println!("recording as {}", std::process::id());
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}
