//! The guest's end of [`crate::guest::agent`]: does what the harness asks over a serial line.
//!
//! One ASCII JSON object a line. It says `{"hello":PID}` first. A request has an `id`, which its
//! answer repeats, and one of:
//!
//! | request | answer |
//! |---|---|
//! | `exec: ["program", "argument"]` | `exit` (null after a signal), `stdout`, `stderr` |
//! | `kill: PID, signal: N` | nothing more |
//! | `read: "/path"` | `text` |
//! | `fill: "/dev/console"` | `bytes` that it took before a write would have waited |
//!
//! What fails is answered with `error`. Requests are done one after the other: a command that hangs
//! is the harness's to give up on. For guests under test only; whoever has the line is root.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use sys::clock::{NS_PER_S, monotonic_ns};
use sys::poll::{self, PollFd, PollFlags};

/// A request in bytes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// A file or an output in bytes: a serial line is slow.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes that a line may take before it counts as one that never fills.
const FILL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A line that is read makes room sooner than this, so one that does not is full for good.
const FULL_AFTER_NS: u64 = NS_PER_S;

/// Serves the line until it hangs up.
///
/// # Errors
/// The line cannot be opened, read or written.
pub fn run(path: &Path) -> io::Result<()> {
    let line = sys::serial::open_raw(path)?;
    serve(BufReader::new(line.try_clone()?), line)
}

/// Answers every line of `requests`.
fn serve(mut requests: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    send(&mut answers, &json!({ "hello": std::process::id() }))?;
    loop {
        let mut text = Vec::new();
        if requests.by_ref().take(REQUEST_BYTES_MAX).read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        // What is no JSON is noise of the line; nobody waits for an answer to it.
        let Ok(request) = serde_json::from_slice::<Value>(&text) else { continue };
        let mut answer = carry_out(&request).unwrap_or_else(|error| json!({ "error": error }));
        answer["id"] = request["id"].clone();
        send(&mut answers, &answer)?;
    }
}

/// Sends a line of pure ASCII: serial lines are not all clean to eight bits.
fn send(to: &mut impl Write, message: &Value) -> io::Result<()> {
    let mut line = String::new();
    for symbol in message.to_string().chars() {
        if symbol.is_ascii() {
            line.push(symbol);
            continue;
        }
        for unit in symbol.encode_utf16(&mut [0; 2]) {
            line += &format!("\\u{unit:04x}");
        }
    }
    line.push('\n');
    to.write_all(line.as_bytes())
}

fn carry_out(request: &Value) -> Result<Value, String> {
    if let Some(words) = request["exec"].as_array() {
        return execute(words);
    }
    if let Some(pid) = request["kill"].as_u64() {
        let number = |value: u64| u32::try_from(value).map_err(|_| "no such pid".to_owned());
        let signal = request["signal"].as_u64().and_then(|signal| u8::try_from(signal).ok());
        let signal = signal.ok_or("kill needs a signal's number")?;
        sys::cgroup::signal_process(number(pid)?, signal)
            .map_err(|error| format!("kill {pid}: {error}"))?;
        return Ok(json!({}));
    }
    if let Some(path) = request["read"].as_str() {
        let text = read_text(path).map_err(|error| format!("read {path}: {error}"))?;
        return Ok(json!({ "text": text }));
    }
    if let Some(path) = request["fill"].as_str() {
        let bytes = fill(Path::new(path)).map_err(|error| format!("fill {path}: {error}"))?;
        return Ok(json!({ "bytes": bytes }));
    }
    Err("a request is exec, kill, read or fill".to_owned())
}

fn execute(words: &[Value]) -> Result<Value, String> {
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let [program, arguments @ ..] = words.as_slice() else { return Err("exec is empty".into()) };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("run {program}: {error}"))?;
    let text = |bytes: &[u8]| {
        let length = bytes.len().min(usize::try_from(TEXT_BYTES_MAX).unwrap_or(usize::MAX));
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    Ok(json!({
        "exit": output.status.code(),
        "stdout": text(&output.stdout),
        "stderr": text(&output.stderr),
    }))
}

fn read_text(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn fill(path: &Path) -> io::Result<u64> {
    let mut line = sys::serial::open_nonblocking(path)?;
    let mut bytes = 0;
    while bytes < FILL_BYTES_MAX {
        match line.write(b"filling the line until it takes no more\r\n") {
            Ok(count) => bytes += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !has_room_soon(&line)? {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("it took {FILL_BYTES_MAX} bytes and is still not full")))
}

/// Whether a line takes more before [`FULL_AFTER_NS`] are over.
fn has_room_soon(line: &File) -> io::Result<bool> {
    let deadline_ns = monotonic_ns() + FULL_AFTER_NS;
    let mut wanted = [PollFd::from_borrowed_fd(line.as_fd(), PollFlags::OUT)];
    loop {
        poll::until(&mut wanted, Some(deadline_ns))?;
        let ready = !wanted[0].revents().is_empty();
        if ready || monotonic_ns() >= deadline_ns {
            return Ok(ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each verb and each way to fail, over plain buffers: an answer a request, with its id, in
    /// order; noise gets none; everything is ASCII and comes back as the text it was.
    #[test]
    fn answers_in_order() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "caf\u{e9} \u{1f980}\n").expect("write");
        let path = path.to_string_lossy();
        let requests = format!(
            "noise\n{}\n{}\n{}\n{}\n{}\n{}\n",
            json!({ "id": 1, "exec": ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"] }),
            json!({ "id": 2, "read": path }),
            json!({ "id": 3, "read": "/no/such/file" }),
            json!({ "id": 4, "kill": std::process::id(), "signal": 18 }),
            json!({ "id": 5, "exec": ["/no/such/program"] }),
            json!({ "id": 6, "fly": true }),
        );
        let mut answers = Vec::new();
        serve(requests.as_bytes(), &mut answers).expect("served");
        assert!(answers.is_ascii());
        let text = String::from_utf8(answers).expect("ASCII");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(lines[0]["hello"].is_u64());
        assert_eq!(lines[1], json!({ "id": 1, "exit": 3, "stdout": "out\n", "stderr": "err\n" }));
        assert_eq!(lines[2], json!({ "id": 2, "text": "caf\u{e9} \u{1f980}\n" }));
        assert_eq!(lines[4]["id"], 4);
        for (line, id) in [(3, 3), (5, 5), (6, 6)] {
            assert!(lines[line]["error"].is_string() && lines[line]["id"] == id, "{lines:?}");
        }
        assert!(lines[4]["error"].is_null() && lines.len() == 7);
    }

    /// A terminal that nobody reads is full at some point; a file never is.
    #[test]
    fn fills_what_can_be_full() {
        assert!(fill(Path::new("/dev/null")).is_err());
        assert!(fill(Path::new("/no/such/line")).is_err());
    }
}
