//! A connection without any manners: sends what it is told, reads frames as they come.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chunk_sync::limits::SERVER_FRAME_BYTES_MAX;
use chunk_sync::wire::{
    Framer, Hello, PROTOCOL_VERSIONS, Reject, RejectCode, Seat, Welcome, control, control_frame, kind,
};

/// How long an answer may take on a busy machine.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A frame: kind and body.
    Frame(u8, Vec<u8>),
    /// The other side closed.
    Closed,
    /// Nothing, in the time that was given.
    Nothing,
}

/// A connection.
pub(crate) struct Raw {
    stream: TcpStream,
    framer: Framer,
    frames: VecDeque<(u8, Vec<u8>)>,
}

impl Raw {
    /// Connects.
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, framer: Framer::new(SERVER_FRAME_BYTES_MAX), frames: VecDeque::new() }
    }

    /// Sends these bytes. That the other side has closed meanwhile is told by reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = self.stream.write_all(bytes);
        self
    }

    /// The next frame, or the end, or nothing within `time`.
    pub(crate) fn answer(&mut self, time: Duration) -> Answer {
        let until = Instant::now() + time;
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some((kind, body)) = self.frames.pop_front() {
                return Answer::Frame(kind, body);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time");
            match self.stream.read(&mut buffer) {
                Ok(0) => return Answer::Closed,
                Ok(some) => {
                    let frames = &mut self.frames;
                    let fed = self.framer.feed(&buffer[..some], |kind, body| {
                        frames.push_back((kind, body.to_vec()));
                        ControlFlow::Continue(())
                    });
                    fed.expect("servers send frames");
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Answer::Closed,
            }
        }
    }

    /// The next frame of this kind or a refusal, whatever else comes before.
    pub(crate) fn wait_for(&mut self, wanted: u8) -> Result<Vec<u8>, Option<RejectCode>> {
        let until = Instant::now() + ANSWER_WAIT;
        loop {
            match self.answer(until.saturating_duration_since(Instant::now())) {
                Answer::Frame(kind, body) if kind == wanted => return Ok(body),
                Answer::Frame(kind::REJECT, body) => return Err(Some(refusal(&body))),
                Answer::Frame(..) => {}
                Answer::Closed => return Err(None),
                Answer::Nothing => panic!("no message 0x{wanted:02x} in {ANSWER_WAIT:?}"),
            }
        }
    }

    /// Waits until it is refused and the connection ended; returns why it was.
    #[track_caller]
    pub(crate) fn refused(&mut self) -> RejectCode {
        let Ok(body) = self.wait_for(kind::REJECT) else { panic!("closed without a reason") };
        let code = refusal(&body);
        assert_eq!(self.answer(ANSWER_WAIT), Answer::Closed, "nothing comes behind {code:?}");
        code
    }

    /// Shows a node a ticket; inside, or why not.
    pub(crate) fn show(&mut self, ticket: &[u8]) -> Result<Welcome, RejectCode> {
        self.send(&hello(&Hello { ticket: Some(ticket.to_vec()), ..Hello::default() }));
        self.welcome()
    }

    /// The answer to a ticket.
    pub(crate) fn welcome(&mut self) -> Result<Welcome, RejectCode> {
        match self.wait_for(kind::WELCOME) {
            Ok(body) => Ok(control(kind::WELCOME, &body).expect("a welcome")),
            Err(why) => Err(why.expect("nobody is turned away without a reason")),
        }
    }
}

/// A `HELLO` frame of this build's version.
pub(crate) fn hello(hello: &Hello) -> Vec<u8> {
    let (min, max) = PROTOCOL_VERSIONS;
    control_frame(kind::HELLO, &Hello { min, max, ..hello.clone() })
}

/// Asks an allocator for a seat.
pub(crate) fn seat(allocator: &str, name: &str) -> Seat {
    let mut raw = Raw::connect(allocator);
    raw.send(&hello(&Hello { name: Some(name.to_owned()), ..Hello::default() }));
    match raw.wait_for(kind::SEAT) {
        Ok(body) => control(kind::SEAT, &body).expect("a seat"),
        Err(why) => panic!("{name} gets no seat: {why:?}"),
    }
}

/// The code of a refusal, which says everything that belongs to it.
pub(crate) fn refusal(body: &[u8]) -> RejectCode {
    let reject: Reject = control(kind::REJECT, body).expect("a refusal");
    let code = RejectCode::from_code(reject.code).expect("a documented code");
    assert_eq!((reject.reason.as_str(), reject.text.as_str()), (code.label(), code.text()));
    code
}
