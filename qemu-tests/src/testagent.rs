//! The guest's end of [`crate::guest::agent`]: does what the harness asks over a serial line.
//!
//! One ASCII JSON object a line. It says `{"hello":PID}` first. A request has an `id`, which its
//! answer repeats, and one of:
//!
//! | request | answer |
//! |---|---|
//! | `exec: ["program", "argument"]` | `exit` (null after a signal), `stdout`, `stderr` |
//! | also `when: "text", kill: PID, signal: N` | also `killed`: whether such a line came |
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
use std::process::{Command, ExitStatus, Stdio};
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
        return match request["when"].as_str() {
            None => execute(words),
            Some(text) => execute_until(words, text, || signal(request)),
        };
    }
    if !request["kill"].is_null() {
        return signal(request).map(|()| json!({}));
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

fn signal(request: &Value) -> Result<(), String> {
    let pid = request["kill"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.ok_or("kill needs a pid")?;
    let signal = request["signal"].as_u64().and_then(|signal| u8::try_from(signal).ok());
    let signal = signal.ok_or("kill needs a signal's number")?;
    sys::cgroup::signal_process(pid, signal).map_err(|error| format!("kill {pid}: {error}"))
}

fn command(words: &[Value]) -> Result<Command, String> {
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let [program, arguments @ ..] = words.as_slice() else { return Err("exec is empty".into()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn execute(words: &[Value]) -> Result<Value, String> {
    let output = command(words)?.output().map_err(|error| format!("run {}: {error}", words[0]))?;
    Ok(ended(&output.status, &output.stdout, &output.stderr))
}

/// As [`execute`], with something to do once, when a line of its output has `text` in it.
fn execute_until(
    words: &[Value],
    text: &str,
    act: impl FnOnce() -> Result<(), String>,
) -> Result<Value, String> {
    let failed = |error: io::Error| format!("run {}: {error}", words[0]);
    let mut child = command(words)?.spawn().map_err(failed)?;
    let stderr = child.stderr.take();
    let rest = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut bytes)).map(|_| bytes)
    });
    let (mut act, mut acted, mut seen) = (Some(act), Ok(()), Vec::new());
    let mut lines = child.stdout.take().map(BufReader::new);
    while let Some(lines) = lines.as_mut() {
        let start = seen.len();
        if lines.read_until(b'\n', &mut seen).map_err(failed)? == 0 {
            break;
        }
        if String::from_utf8_lossy(&seen[start..]).contains(text) {
            acted = act.take().map_or(acted, |act| act());
        }
    }
    let status = child.wait().map_err(failed)?;
    let stderr = rest.join().map_err(|_| "a thread broke")?.map_err(failed)?;
    acted?;
    let mut answer = ended(&status, &seen, &stderr);
    answer["killed"] = act.is_none().into();
    Ok(answer)
}

fn ended(status: &ExitStatus, stdout: &[u8], stderr: &[u8]) -> Value {
    let text = |bytes: &[u8]| {
        let length = bytes.len().min(usize::try_from(TEXT_BYTES_MAX).unwrap_or(usize::MAX));
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    json!({ "exit": status.code(), "stdout": text(stdout), "stderr": text(stderr) })
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

    /// The signal is sent at the first line that has the text, while the command still runs: this
    /// one would otherwise wait for ever.
    #[test]
    fn kills_at_a_word() {
        let mut victim = Command::new("/bin/sleep").arg("1000").spawn().expect("run");
        let line = "echo one; echo two; while kill -0 $0 2>/dev/null && ! grep -q 'Z ' \
                    /proc/$0/stat; do :; done; echo gone";
        let pid = victim.id().to_string();
        let mut request = json!({
            "exec": ["/bin/sh", "-c", line, pid], "when": "tw", "kill": victim.id(), "signal": 9
        });
        let answer = carry_out(&request).expect("an answer");
        assert_eq!(answer["stdout"], "one\ntwo\ngone\n");
        assert_eq!((&answer["exit"], &answer["killed"]), (&json!(0), &json!(true)));
        assert!(!victim.wait().expect("killed").success());
        request["exec"] = json!(["/bin/echo", "one"]);
        assert_eq!(carry_out(&request).expect("an answer")["killed"], false);
    }

    /// A terminal that nobody reads is full at some point; a file never is.
    #[test]
    fn fills_what_can_be_full() {
        assert!(fill(Path::new("/dev/null")).is_err());
        assert!(fill(Path::new("/no/such/line")).is_err());
    }
}
