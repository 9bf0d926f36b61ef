//! Ways for bytes in both directions and nothing else: from a guest's network to a Unix socket
//! inside, and from QEMU's end of a guest's connection to a server of this machine.

use super::arguments::Arguments;
use super::{Outcome, at};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// `relay PORT SOCKET`: each connection to PORT is one to SOCKET, until either side ends it.
pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let port: u16 = arguments.needed("PORT")?;
    let socket: String = arguments.needed("SOCKET")?;
    arguments.finish()?;
    let listener =
        TcpListener::bind(("0.0.0.0", port)).map_err(at(format_args!("listen on {port}")))?;
    loop {
        let (outside, _) = listener.accept().map_err(at("accept"))?;
        let inside = UnixStream::connect(&socket).map_err(at(format_args!("connect {socket}")))?;
        std::thread::spawn(move || join(&outside, &inside));
    }
}

/// `stdio ADDRESS:PORT`: standard input and output are the other end of a connection there.
pub(super) fn stdio(arguments: &mut Arguments) -> Outcome {
    let address: SocketAddr = arguments.needed("ADDRESS:PORT")?;
    arguments.finish()?;
    let server = TcpStream::connect(address).map_err(at(format_args!("connect to {address}")))?;
    let upward = server.try_clone().map_err(at("duplicate a socket"))?;
    std::thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut &upward);
        let _ = upward.shutdown(Shutdown::Write);
    });
    // Not through `Stdout`, which holds back what has no end of line.
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(at("standard output"))?;
    copy(&mut &server, &mut std::fs::File::from(output)).map_err(at("carry an answer"))?;
    // Whoever asked has gone, or the server has: nothing is left for the other direction.
    Ok(ExitCode::SUCCESS)
}

/// Copies until one side ends; then both end.
fn join(outside: &TcpStream, inside: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = copy(&mut &*outside, &mut &*inside);
            let _ = inside.shutdown(Shutdown::Both);
        });
        let _ = copy(&mut &*inside, &mut &*outside);
        let _ = outside.shutdown(Shutdown::Both);
    });
}

fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<u64> {
    io::copy(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Bytes arrive in both directions, and the end of one side is the end of the other.
    #[test]
    fn bytes_go_both_ways_and_an_end_is_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (outside, _) = listener.accept().expect("one waits");
        let (inside, mut server) = UnixStream::pair().expect("a pair");
        let relay = std::thread::spawn(move || join(&outside, &inside));
        client.write_all(b"ask").expect("room");
        let mut word = [0; 3];
        server.read_exact(&mut word).expect("three bytes");
        assert_eq!(&word, b"ask");
        server.write_all(b"answer").expect("room");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("until the end");
        assert_eq!(answer, "answer");
        relay.join().expect("both directions ended");
    }
}
