//! One connection: requests in, files out, as wrong as asked.

use super::{Fault, State};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::Component;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Head of a request in bytes; more ends the connection.
const HEAD_BYTES_MAX: u64 = 16 * 1024;

struct Request {
    path: String,
    from: Option<u64>,
    is_head: bool,
}

/// Serves requests until the client goes, the server dies, or a fault says so.
pub(super) fn connection(stream: &TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        if !state.lives() {
            state.stop();
            return Ok(());
        }
        let fault = state.met(&request.path);
        if !answer(stream, state, &request, fault)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = reader.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let is_head = match words.next() {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Ok(None),
    };
    let path = words.next().unwrap_or("/").trim_start_matches('/');
    let path = path.split('?').next().unwrap_or(path).to_owned();
    let mut from = None;
    loop {
        let mut field = String::new();
        if head.read_line(&mut field)? == 0 {
            return Ok(None);
        }
        let field = field.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            return Ok(Some(Request { path, from, is_head }));
        }
        let range = field.strip_prefix("range: bytes=").and_then(|range| range.strip_suffix('-'));
        from = range.and_then(|range| range.parse().ok()).or(from);
    }
}

/// `false` if the connection ends here.
fn answer(
    stream: &TcpStream,
    state: &State,
    request: &Request,
    fault: Option<Fault>,
) -> io::Result<bool> {
    if let Some(Fault::Status(status)) = fault {
        return refuse(stream, status);
    }
    let inside = Path::new(&request.path)
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    let file = state.folder.join(&request.path);
    if !inside || !file.is_file() {
        return refuse(stream, 404);
    }
    let from = request.from.filter(|_| fault != Some(Fault::NoRange));
    match &fault {
        Some(Fault::Replace(bytes)) => {
            let whole = bytes.len() as u64;
            send(stream, state, request, &mut Cursor::new(bytes), whole, from, fault.as_ref())
        }
        Some(Fault::Flip(at)) => {
            let mut bytes = std::fs::read(file)?;
            let at = usize::try_from(*at).unwrap_or(usize::MAX).min(bytes.len().saturating_sub(1));
            bytes[at] ^= 1;
            let whole = bytes.len() as u64;
            send(stream, state, request, &mut Cursor::new(bytes), whole, from, None)
        }
        _ => {
            let mut file = File::open(file)?;
            let mut whole = file.metadata()?.len();
            if let Some(Fault::Short(bytes)) = fault {
                whole = whole.min(bytes);
            }
            send(stream, state, request, &mut file, whole, from, fault.as_ref())
        }
    }
}

fn refuse(mut stream: &TcpStream, status: u16) -> io::Result<bool> {
    write!(stream, "HTTP/1.1 {status} refused\r\nContent-Length: 0\r\n\r\n")?;
    Ok(true)
}

/// Sends `whole` bytes of `body`, or those from `from` on.
fn send(
    mut stream: &TcpStream,
    state: &State,
    request: &Request,
    body: &mut (impl Read + Seek),
    whole: u64,
    from: Option<u64>,
    fault: Option<&Fault>,
) -> io::Result<bool> {
    let start = from.unwrap_or(0).min(whole);
    let length = whole - start;
    let head = match from {
        None => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        Some(_) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\
             Content-Range: bytes {start}-{}/{whole}\r\n\r\n",
            whole.saturating_sub(1)
        ),
    };
    stream.write_all(head.as_bytes())?;
    if request.is_head {
        return Ok(true);
    }
    let limit = match fault {
        Some(Fault::Drop(bytes) | Fault::Hang(bytes)) => length.min(*bytes),
        _ => length,
    };
    body.seek(SeekFrom::Start(start))?;
    let sent = io::copy(&mut body.take(limit), &mut stream)?;
    state.body_bytes.fetch_add(sent, Ordering::Relaxed);
    if let Some(Fault::Hang(_)) = fault {
        // Until the client goes, or the server dies.
        let _ = io::copy(&mut &*stream, &mut io::sink());
    }
    Ok(limit == length && !matches!(fault, Some(Fault::Hang(_))))
}
