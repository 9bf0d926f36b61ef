//! What is asked, and which answer is right.

use super::connection::Response;
use super::report::Failure;

/// How long a slow request takes the server, in milliseconds: long enough that a restart falls into
/// it, well below the limit of an answer.
const SLOW_MS: u64 = 400;

/// Bytes of a POST body: a few packets.
const BODY_BYTES: usize = 3000;

/// A kind of request.
///
/// The server answers a GET with the body `id=ID instance=PID count=N`, a line, where ID is the
/// request's `X-Request-Id` and N how often it has seen it, and maybe ` version=V` after it; a POST
/// to `/echo` with the body that was sent. Every answer repeats `X-Request-Id` and says N in
/// `X-Request-Count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// GET on a new connection.
    GetNew,
    /// GET on a connection that was used before.
    GetKept,
    /// POST on a new connection.
    PostNew,
    /// POST on a connection that was used before.
    PostKept,
    /// GET that the server takes [`SLOW_MS`] to answer.
    Slow,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::GetNew, Self::GetKept, Self::PostNew, Self::PostKept, Self::Slow];

    pub(super) fn keeps_connection(self) -> bool {
        matches!(self, Self::GetKept | Self::PostKept)
    }

    fn is_post(self) -> bool {
        matches!(self, Self::PostNew | Self::PostKept)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its kind.
    pub kind: Kind,
    /// Its id, unique within a load.
    pub id: String,
    body: Vec<u8>,
}

/// What a right answer told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The pid of the process that answered, where it says so.
    pub instance: Option<u32>,
    /// Its version, where it says so.
    pub version: Option<String>,
}

impl Request {
    pub(super) fn new(load: &str, index: u64, kind: Kind) -> Self {
        let id = format!("{load}-{index}");
        // Differs from request to request, so that an answer to another one is noticed.
        let pattern = id.bytes().chain(*b"|").cycle();
        let body = if kind.is_post() { pattern.take(BODY_BYTES).collect() } else { Vec::new() };
        Self { kind, id, body }
    }

    /// The request as it goes on the wire (RFC 9112).
    pub(super) fn bytes(&self) -> Vec<u8> {
        let line = match self.kind {
            Kind::GetNew | Kind::GetKept => "GET / HTTP/1.1".to_owned(),
            Kind::PostNew | Kind::PostKept => "POST /echo HTTP/1.1".to_owned(),
            Kind::Slow => format!("GET /slow?ms={SLOW_MS} HTTP/1.1"),
        };
        let keep = if self.kind.keeps_connection() { "keep-alive" } else { "close" };
        let mut bytes =
            format!("{line}\r\nHost: load\r\nX-Request-Id: {}\r\nConnection: {keep}\r\n", self.id);
        if self.kind.is_post() {
            bytes += &format!("Content-Length: {}\r\n", self.body.len());
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Whether `response` is the right answer to this request and no other.
    pub(super) fn check(&self, response: &Response) -> Result<Answer, Failure> {
        if response.status != 200 {
            return Err(Failure::Status(response.status));
        }
        if response.id.as_deref() != Some(&self.id) {
            return Err(Failure::WrongId);
        }
        if response.count != Some(1) {
            return Err(Failure::SeenTwice);
        }
        if self.kind.is_post() {
            let right = response.body == self.body;
            return if right { Ok(Answer::default()) } else { Err(Failure::WrongBody) };
        }
        let text = str::from_utf8(&response.body).map_err(|_| Failure::WrongBody)?;
        let mut words = text.split_ascii_whitespace();
        let id = words.next().and_then(|word| word.strip_prefix("id="));
        let instance = words.next().and_then(|word| word.strip_prefix("instance="));
        let count = words.next().and_then(|word| word.strip_prefix("count="));
        let instance = instance.and_then(|pid| pid.parse().ok());
        let version = words.next().and_then(|word| word.strip_prefix("version="));
        if id == Some(&self.id) && instance.is_some() && count == Some("1") {
            Ok(Answer { instance, version: version.map(str::to_owned) })
        } else {
            Err(Failure::WrongBody)
        }
    }
}
