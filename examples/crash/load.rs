//! The load: a few connections that ask, wait for the answer, and ask again.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Three connections ask for users and orders, one for reports.
const CLIENTS: u64 = 4;

/// What one connection asks at most; the daemon is dead long before.
const REQUESTS: u64 = 100_000;

/// No answer takes longer while the daemon lives.
const PATIENCE: Duration = Duration::from_secs(5);

/// The clients, which stop by themselves when the daemon is gone.
pub(crate) struct Load {
    clients: Vec<JoinHandle<()>>,
    answered: Arc<AtomicU64>,
}

impl Load {
    /// Connects the clients and sets them off.
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let mut load = Self {
            clients: Vec::new(),
            answered: Arc::default(),
        };
        for client in 0..CLIENTS {
            let connection = Connection::open(port)?;
            let answered = Arc::clone(&load.answered);
            load.clients
                .push(thread::spawn(move || ask(client, connection, &answered)));
        }
        Ok(load)
    }

    /// Waits for the clients to see the end, and counts the answers they got.
    pub(crate) fn finish(self) -> u64 {
        for client in self.clients {
            let _ = client.join();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// Asks for `path` on a connection of its own, and for no answer.
pub(crate) fn ask_once(port: u16, path: &str) {
    let asked = Connection::open(port).and_then(|mut connection| {
        connection.request(&format!("GET {path} HTTP/1.1\r\nHost: crash\r\n\r\n"))
    });
    // Whoever dies of a question does not answer it.
    drop(asked);
}

fn ask(client: u64, mut connection: Connection, answered: &AtomicU64) {
    for number in 0..REQUESTS {
        if connection.request(&request(client, number)).is_err() {
            return;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn request(client: u64, number: u64) -> String {
    let user_id = client * 1_000 + number % 1_000;
    if client == 0 {
        return "GET /report HTTP/1.1\r\nHost: crash\r\n\r\n".into();
    }
    if !number.is_multiple_of(3) {
        return format!("GET /users/{user_id} HTTP/1.1\r\nHost: crash\r\n\r\n");
    }
    let amount = (number * 7_919) % 100_000;
    let body = format!(r#"{{"user_id":{user_id},"amount":{amount}}}"#);
    format!(
        "POST /orders HTTP/1.1\r\nHost: crash\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One keep-alive connection.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads its whole answer, whatever its status.
    fn request(&mut self, request: &str) -> io::Result<()> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut body_len = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => body_len = value.parse().unwrap_or(0),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        io::copy(&mut (&mut self.0).take(body_len), &mut io::sink())?;
        Ok(())
    }
}
