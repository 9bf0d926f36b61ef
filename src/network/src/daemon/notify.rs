//! sd_notify(3): the supervisor hears that the host is online, and how it stands.

use network::state::State;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Who is told; nobody where nobody asked.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, PathBuf)>,
    is_ready: bool,
    summary: String,
}

impl Notifier {
    /// The socket of `$NOTIFY_SOCKET`.
    pub fn from_environment() -> Self {
        let path = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
        let socket = path.and_then(|path| Some((UnixDatagram::unbound().ok()?, path)));
        Self { socket, is_ready: false, summary: String::new() }
    }

    /// Says what is new: `READY=1` the first time that the host is online, and a line of words.
    pub fn tell(&mut self, state: &State) {
        let becomes_ready = state.online && !self.is_ready;
        let mut summary = state.summary();
        if self.is_ready && !state.online {
            summary = format!("offline: {summary}");
        }
        if !becomes_ready && summary == self.summary {
            return;
        }
        let ready = if becomes_ready { "READY=1\n" } else { "" };
        let text = format!("{ready}STATUS={summary}\n");
        if let Some((socket, path)) = &self.socket
            && let Err(error) = socket.send_to(text.as_bytes(), path)
        {
            // It is said again with the next change.
            tracing::error!("tell {}: {error}", path.display());
            return;
        }
        if becomes_ready {
            tracing::info!("online: {summary}");
        } else if self.is_ready && !state.online {
            tracing::warn!("{summary}");
        }
        self.is_ready |= becomes_ready;
        self.summary = summary;
    }
}
