//! One request of HTTP/1.1, read by hand: a method, a path, headers, and no body.

use std::io::{self, BufRead};

/// Bytes of a request's head: a token has 56, a path some hundred.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The path, decoded, without the query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// Reads one; nothing at the end of the connection.
    ///
    /// # Errors
    /// The connection breaks, or what comes is no request of at most [`HEAD_BYTES_MAX`] bytes.
    pub fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let begin = head.len();
            let room = HEAD_BYTES_MAX - begin;
            let room = u64::try_from(room).unwrap_or(0);
            let read = io::Read::take(&mut *input, room).read_until(b'\n', &mut head)?;
            if read == 0 && begin == 0 {
                return Ok(None);
            }
            let line = &head[begin..];
            if line == b"\r\n" || line == b"\n" {
                break;
            }
            if !line.ends_with(b"\n") {
                return Err(invalid("a head that does not end"));
            }
        }
        let head = String::from_utf8(head).map_err(|_| invalid("a head that is not UTF-8"))?;
        let request = Self::parse(&head).ok_or_else(|| invalid("no request"))?;
        let length = request.header("content-length").map_or(Ok(0), str::parse::<u64>);
        let length = length.map_err(|_| invalid("a length that is no number"))?;
        let chunked = request.header("transfer-encoding").is_some();
        if length > 0 || chunked {
            return Err(invalid("a body, which no request to this service has"));
        }
        Ok(Some(request))
    }

    /// Reads the text of a head.
    #[must_use]
    pub fn parse(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        let mut words = lines.next()?.split_ascii_whitespace();
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") || words.next().is_some() {
            return None;
        }
        let path = target.split('?').next().unwrap_or(target);
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Self { method: method.to_owned(), path: decoded(path)?, headers })
    }

    /// A header's value; the first one of its name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// `text` with each `%XX` as its byte.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Request>> {
        Request::read(&mut &bytes[..])
    }

    #[test]
    fn requests_are_read_one_after_the_other() {
        let mut bytes: &[u8] = b"GET /latest/meta-data/tags/instance/a%20b?x HTTP/1.1\r\n\
            X-A: 1\r\n\r\nPUT / HTTP/1.0\n\n";
        let first = Request::read(&mut bytes).expect("read").expect("there");
        assert_eq!(
            (first.method.as_str(), first.path.as_str()),
            ("GET", "/latest/meta-data/tags/instance/a b")
        );
        assert_eq!(first.header("x-a"), Some("1"));
        let second = Request::read(&mut bytes).expect("read").expect("there");
        assert_eq!(second.method, "PUT");
        assert_eq!(Request::read(&mut bytes).expect("the end"), None);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = [b"GET /".as_slice(), &vec![b'a'; HEAD_BYTES_MAX]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"GET /\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\n\r\n",
            b"GET /%f HTTP/1.1\r\n\r\n",
            b"GET /%ff HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            b"\xff\xff\r\n\r\n",
            &long,
        ] {
            assert!(
                read(bytes).is_err(),
                "{}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
            );
        }
    }

    proptest::proptest! {
        /// Any bytes are a request, the end, or an error; never a panic.
        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let _ = read(&bytes);
        }
    }
}
