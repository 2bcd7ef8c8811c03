//! What the servers say about their own CPU time (`server_cpu_s` of `/api/state`), asked for at both ends of the
//! window, so that cost and load are those of the same seconds.
//!
//! Called by the run, which must not wait: each question has a thread of its own that ends within a named time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use super::limits::{STATE_BYTES_MAX, STATE_MS_MAX};

/// The part of the state that is looked at.
#[derive(Debug, Deserialize)]
struct State {
    server_cpu_s: f64,
}

/// A question under way.
pub(super) struct Question {
    thread: JoinHandle<io::Result<f64>>,
}

impl Question {
    /// Asks the page at `address` (HOST:PORT).
    pub(super) fn ask(address: &str) -> io::Result<Self> {
        let address = address.to_owned();
        let thread =
            std::thread::Builder::new().name("swarm-state".to_owned()).spawn(move || fetch(&address))?;
        Ok(Self { thread })
    }

    /// The CPU seconds of all servers when it was asked.
    pub(super) fn answer(self) -> io::Result<f64> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the question broke off")))
    }
}

/// HOST:PORT of a page's URL, or of itself.
pub(super) fn parse_page(page: &str) -> Result<String, String> {
    let address = page.trim_start_matches("http://");
    let address = address.split('/').next().unwrap_or_default();
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address.to_owned()),
        _ => Err("a page is HOST:PORT or http://HOST:PORT/".to_owned()),
    }
}

fn fetch(address: &str) -> io::Result<f64> {
    let patience = Duration::from_millis(STATE_MS_MAX);
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let found = address.to_socket_addrs()?.next().ok_or_else(none)?;
    let mut stream = TcpStream::connect_timeout(&found, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP/1.0: the answer comes whole and ends with the connection.
    write!(stream, "GET /api/state HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(STATE_BYTES_MAX).read_to_end(&mut answer)?;
    read_answer(&answer)
}

fn read_answer(answer: &[u8]) -> io::Result<f64> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let blank =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| bad("no HTTP answer"))?;
    let (head, body) = answer.split_at(blank);
    let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if first.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        return Err(bad(&format!("HTTP says {:?}", String::from_utf8_lossy(first))));
    }
    let state: State = serde_json::from_slice(&body[4..]).map_err(|error| bad(&error.to_string()))?;
    Ok(state.server_cpu_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn pages_are_addresses() {
        for page in
            ["127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/x/y"]
        {
            assert_eq!(parse_page(page).as_deref(), Ok("127.0.0.1:8080"));
        }
        for page in ["", "host", "http://host/", "host:port", ":80"] {
            assert!(parse_page(page).is_err(), "{page}");
        }
    }

    #[test]
    fn answers_are_read_or_refused() {
        let cpu = |answer: &str| read_answer(answer.as_bytes()).ok();
        assert_eq!(cpu("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"nodes\":[],\"server_cpu_s\":1.5}"), Some(1.5));
        assert_eq!(cpu("HTTP/1.0 503 Busy\r\n\r\n{\"server_cpu_s\":1.5}"), None);
        assert_eq!(cpu("HTTP/1.0 200 OK\r\n\r\n{}"), None);
        assert_eq!(cpu("garbage"), None);
        assert_eq!(cpu(""), None);
    }

    #[test]
    fn a_real_page_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let page = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the question");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a whole request");
                asked.extend(byte);
            }
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"server_cpu_s\": 2.25}").expect("it listens");
            String::from_utf8(asked).expect("text")
        });
        let question = Question::ask(&address).expect("a thread");
        assert_eq!(question.answer().expect("an answer"), 2.25);
        assert!(page.join().expect("served").starts_with("GET /api/state HTTP/1.0\r\n"));
    }
}
