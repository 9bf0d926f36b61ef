//! The test app: one static program that behaves in whatever way a test needs of a service.
//!
//! A web server that counts what it is asked, and processes that are slow, loud, stubborn, short of
//! breath, or many. Also a guest's network address.
//!
//! Under another name than its own it takes its words from a file, one a line: `bin/serve` of a
//! release is a link to this program, and `arguments/serve` beside `bin` says what it is to be.

mod arguments;
mod forgetful;
mod http;
mod net;
mod notify;
mod ntp;
mod process;
mod relay;
mod secrets;
mod signals;
mod task;
mod web;

use arguments::Arguments;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: rollinit-testapp MODE [OPTION …]

  web [--port N] [--version V] [--served FILE] [--up-status N] [--sick-after-ms N]
      [--never-accept] [--shut-down]
                            HTTP server on LISTEN_FDS, or on PORT of all addresses. Answers with
                            its VERSION; appends \"VERSION PID PATH ID\" to FILE for every request;
                            /up says N, or 503 after a while; or nothing is ever accepted; or the
                            listener is shut down, for all who hold it, at the end
  task TEXT [--code N] [--after-ms N] [--note FILE]
                            prints TEXT, adds it to FILE, waits, exits with CODE (default 0)
  notify [--delay-ms N] [--status TEXT] [--main-pid] [--never]
                            says READY=1 after a delay, or never; then waits for SIGTERM
  crash [--code N] [--after-ms N]
                            exits with CODE (default 1) after a while
  exit N                    exits with N at once
  forgetful PROGRAM [WORD …]
                            becomes PROGRAM, and nothing it syncs reaches the disk
  hang                      waits for SIGTERM, then exits with 0
  ignore-term               waits for ever, whatever SIGTERM says
  starve                    takes the processor from everybody, PID 1 too, for ever: needs root
  chatty [--lines N]        prints numbered lines as fast as it can, then waits for SIGTERM
  orphans COUNT             leaves COUNT children that end at once to whoever adopts orphans
  children COUNT            starts COUNT children that wait for ever, then waits for SIGTERM
  forkbomb                  doubles until it cannot; its processes ignore SIGTERM
  witness PATH NAME [--ready-ms N] [--ready-when FILE] [--stop-ms N]
                            appends \"NAME starts\", \"NAME is ready\", \"NAME stops\" to PATH
  secrets FILE              appends what each file of $CREDENTIALS_DIRECTORY holds to FILE as
                            \"start NAME VALUE\", says READY=1; at SIGHUP again as \"hup\"
  relay PORT SOCKET         carries connections from a TCP port to a Unix socket
  stdio ADDRESS:PORT        carries standard input and output to and from a TCP server
  net ADDRESS/PREFIX [GATEWAY]
                            gives lo and the first Ethernet interface their addresses
  ntp PORT OFFSET-SECONDS   a time server on loopback that is so much ahead
";

/// Why the test app gives up: what it did, and what came of it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the step that an error belongs to.
pub(crate) fn at<E: fmt::Display>(step: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{step}: {error}"))
}

/// What every mode comes to.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// The program's own name; under others its words are in a file.
const NAME: &str = "rollinit-testapp";

/// Runs the mode that the words name: the whole program. The first word is its own name.
#[must_use]
pub fn run(mut words: impl Iterator<Item = String>) -> ExitCode {
    let name = words.next().unwrap_or_default();
    let mut words: Vec<String> = words.collect();
    match words_of(Path::new(&name)) {
        Ok(None) => {}
        Ok(Some(own)) => words.splice(..0, own).for_each(drop),
        Err(failure) => {
            eprintln!("{name}: {failure}");
            return ExitCode::FAILURE;
        }
    }
    let mut arguments = Arguments::new(words.into_iter());
    let Some(mode) = arguments.word() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match dispatch(&mode, &mut arguments) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("rollinit-testapp {mode}: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What the file `arguments/NAME` beside the folder of a program called NAME says, a word a line.
fn words_of(program: &Path) -> Result<Option<Vec<String>>, Failure> {
    let Some(name) = program.file_name().filter(|name| *name != NAME) else { return Ok(None) };
    let release = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let file = release.join("arguments").join(name);
    let text = std::fs::read_to_string(&file).map_err(at(format!("read {}", file.display())))?;
    Ok(Some(text.lines().map(str::to_owned).collect()))
}

fn dispatch(mode: &str, arguments: &mut Arguments) -> Outcome {
    match mode {
        "web" => web::run(arguments),
        "task" => task::run(arguments),
        "notify" => notify::run(arguments),
        "crash" => process::crash(arguments),
        "exit" => process::exit(arguments),
        "forgetful" => forgetful::run(arguments),
        "hang" => process::hang(),
        "ignore-term" => process::ignore_term(),
        "starve" => process::starve(),
        "chatty" => process::chatty(arguments),
        "orphans" => process::orphans(arguments),
        "children" => process::children(arguments),
        "forkbomb" => process::fork_bomb(arguments),
        "witness" => notify::witness(arguments),
        "secrets" => secrets::run(arguments),
        "relay" => relay::run(arguments),
        "stdio" => relay::stdio(arguments),
        "net" => net::run(arguments),
        "ntp" => ntp::run(arguments),
        "--help" | "-h" | "help" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
