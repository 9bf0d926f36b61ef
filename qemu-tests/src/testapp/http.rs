//! As much of HTTP/1.1 (RFC 9112) as the load generator speaks: requests with a `Content-Length`,
//! answers with one, connections that are kept.

use std::io::{self, ErrorKind, Write};

/// Head of a request in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Body of a request in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A request, its body complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    /// What follows `?` in the target.
    pub query: String,
    /// `X-Request-Id`; empty without one.
    pub id: String,
    /// The client will send no more on this connection.
    pub closes: bool,
    pub body: Vec<u8>,
}

impl Request {
    /// The value of `name` in the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Takes the first whole request off `bytes`; none if more of it has to come.
///
/// # Errors
/// `InvalidData` for what is no such request or above a cap.
pub(super) fn take_request(bytes: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(invalid()) } else { Ok(None) };
    };
    let (mut request, body_bytes) = read_head(&bytes[..end]).ok_or_else(invalid)?;
    let whole = end + 4 + body_bytes;
    if bytes.len() < whole {
        return Ok(None);
    }
    let rest = bytes.split_off(whole);
    request.body = bytes.split_off(end + 4);
    *bytes = rest;
    Ok(Some(request))
}

fn invalid() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "no HTTP/1.1 request, or one above the caps")
}

fn read_head(bytes: &[u8]) -> Option<(Request, usize)> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= HEAD_BYTES_MAX)?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    words.next().filter(|version| *version == "HTTP/1.1")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        id: String::new(),
        closes: false,
        body: Vec::new(),
    };
    let mut body_bytes = 0;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body_bytes = value.parse().ok()?,
            "connection" => request.closes = value.eq_ignore_ascii_case("close"),
            "x-request-id" => request.id = value.to_owned(),
            "transfer-encoding" => return None,
            _ => {}
        }
    }
    (body_bytes <= BODY_BYTES_MAX).then_some((request, body_bytes))
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// How often the request's id was seen.
    pub count: u64,
    pub body: Vec<u8>,
}

impl Answer {
    /// Sends it, in one write.
    ///
    /// # Errors
    /// Those of write(2).
    pub(super) fn send(&self, id: &str, closes: bool, mut to: impl Write) -> io::Result<()> {
        let reason = if self.status == 200 { "OK" } else { "Error" };
        let connection = if closes { "close" } else { "keep-alive" };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Length: {}\r\nX-Request-Id: {id}\r\n\
             X-Request-Count: {}\r\nConnection: {connection}\r\n\r\n",
            self.status,
            self.body.len(),
            self.count
        )
        .into_bytes();
        bytes.extend_from_slice(&self.body);
        to.write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"POST /echo?a=1&ms=5 HTTP/1.1\r\nHost: x\r\nX-Request-Id: t-1\r\n\
        Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nConnection: close\r\n\r\n";

    /// Two requests in a row, given byte by byte: each comes out once it is whole, not before.
    #[test]
    fn requests_come_out_whole() {
        let (mut bytes, mut requests) = (Vec::new(), Vec::new());
        for byte in TWO {
            bytes.push(*byte);
            requests.extend(take_request(&mut bytes).expect("sound"));
        }
        let [first, second] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/echo"));
        assert_eq!((first.parameter("ms"), first.parameter("b")), (Some("5"), None));
        assert_eq!((first.id.as_str(), first.body.as_slice()), ("t-1", &b"abc"[..]));
        assert!(!first.closes && second.closes);
        assert_eq!((second.path.as_str(), second.body.len()), ("/", 0));
        assert!(bytes.is_empty());
    }

    /// What is no request of ours is refused rather than guessed at.
    #[test]
    fn others_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        let large = format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        for wrong in [
            &b"GET / HTTP/1.0\r\n\r\n"[..],
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"\xff\r\n\r\n",
            long.as_bytes(),
            large.as_bytes(),
        ] {
            assert!(take_request(&mut wrong.to_vec()).is_err());
        }
    }
}
