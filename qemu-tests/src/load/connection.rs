//! One HTTP/1.1 connection (RFC 9112), plain enough to hide nothing: no retry, no redirect, no
//! pooling, every error as it came.

use super::report::Failure;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Head of a response in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Body of a response in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A connection to the server under test.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

/// A response, its body complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `X-Request-Id`.
    pub id: Option<String>,
    /// `X-Request-Count`.
    pub count: Option<u64>,
    /// The server will close the connection.
    pub closes: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// What a head says about the rest.
struct Head {
    response: Response,
    body_bytes: usize,
}

impl Connection {
    /// Connects before `deadline`.
    pub fn open(target: SocketAddr, deadline: Instant) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&target, left(deadline)?)
            .map_err(|error| Failure::of(&error))?;
        stream.set_nodelay(true).map_err(|error| Failure::of(&error))?;
        Ok(Self { stream })
    }

    /// Whether the server has not closed it: nothing is there to be read, not even an end.
    pub fn is_open(&self) -> bool {
        let mut byte = [0];
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut byte));
        let waiting = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        waiting && self.stream.set_nonblocking(false).is_ok()
    }

    /// Sends `request`, once, and reads one whole response before `deadline`.
    pub fn exchange(&mut self, request: &[u8], deadline: Instant) -> Result<Response, Failure> {
        let timeout = Some(left(deadline)?);
        self.stream.set_write_timeout(timeout).map_err(|error| Failure::of(&error))?;
        self.stream.write_all(request).map_err(|error| Failure::of(&error))?;
        let mut bytes = Vec::new();
        let head_bytes = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(Failure::Protocol);
            }
            self.read_more(&mut bytes, deadline)?;
        };
        let Head { mut response, body_bytes } =
            parse_head(&bytes[..head_bytes]).ok_or(Failure::Protocol)?;
        while bytes.len() < head_bytes + body_bytes {
            self.read_more(&mut bytes, deadline)?;
        }
        if bytes.len() > head_bytes + body_bytes {
            return Err(Failure::Protocol); // an answer to something that was not asked
        }
        response.body = bytes.split_off(head_bytes);
        Ok(response)
    }

    fn read_more(&mut self, bytes: &mut Vec<u8>, deadline: Instant) -> Result<(), Failure> {
        let timeout = Some(left(deadline)?);
        self.stream.set_read_timeout(timeout).map_err(|error| Failure::of(&error))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Failure::EndedEarly),
            Ok(count) => {
                bytes.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

/// Time left until `deadline`, never zero.
fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Failure::TooLate) } else { Ok(left) }
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let text = str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut response = Response { status, id: None, count: None, closes: false, body: Vec::new() };
    let mut body_bytes = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body_bytes = value.parse().ok(),
            "connection" => response.closes = value.eq_ignore_ascii_case("close"),
            "x-request-id" => response.id = Some(value.to_owned()),
            "x-request-count" => response.count = value.parse().ok(),
            _ => {}
        }
    }
    // A length is demanded: only it tells a whole body from one that was cut.
    let body_bytes = body_bytes.filter(|bytes| *bytes <= BODY_BYTES_MAX)?;
    Some(Head { response, body_bytes })
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TooLate,
            ErrorKind::UnexpectedEof => Self::EndedEarly,
            _ => Self::Other(error.raw_os_error().unwrap_or(0)),
        }
    }
}
