//! An admin port that only answers what a test wrote for it: states of a server that a healthy one doesn't show on
//! demand. The page's own files are the real ones.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The answer to a question for the state: status and JSON; `None` hangs up.
pub(crate) type Script = fn(usize) -> Option<(u16, String)>;

/// Serves until the test's process ends; returns the page's URL.
pub(crate) fn serve(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let asked = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = Arc::clone(&asked);
            // A browser opens connections ahead and says nothing on them: each has a thread.
            std::thread::spawn(move || answer(stream, script, &asked));
        }
    });
    url
}

/// One answer per connection. A browser that hung up already is no concern of ours.
fn answer(stream: TcpStream, script: Script, asked: &AtomicUsize) -> Option<()> {
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next()?.ok()?;
    lines.map_while(Result::ok).find(String::is_empty)?;
    let (kind, status, body) = match first.split(' ').nth(1)? {
        "/" => ("text/html", 200, dashboard::PAGE_HTML.to_owned()),
        "/page.css" => ("text/css", 200, dashboard::PAGE_CSS.to_owned()),
        "/page.js" => ("text/javascript", 200, dashboard::PAGE_JS.to_owned()),
        "/icon.svg" => ("image/svg+xml", 200, dashboard::ICON_SVG.to_owned()),
        "/api/state" => {
            let (status, body) = script(asked.fetch_add(1, Relaxed))?;
            ("application/json", status, body)
        }
        _ => ("text/plain", 404, String::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} So\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n"
    );
    (&stream).write_all(format!("{head}\r\n{body}").as_bytes()).ok()
}
