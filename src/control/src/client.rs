//! The client half: typed calls over one connection.

use crate::INTERFACE;
use crate::types::{Changed, EventBatch, LogBatch, ProcessList, ShutdownKind, Status};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use zlink::Call;
use zlink::tokio::unix::Connection;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The supervisor answered with an error.
    #[error(transparent)]
    Answered(#[from] crate::Error),
    /// No connection came about.
    #[error("cannot connect to {socket}: {error}")]
    Connect {
        /// The socket.
        socket: String,
        /// What `connect` said.
        error: std::io::Error,
    },
    /// The connection ended before the answer came.
    #[error("{socket}: the connection ended before the answer to {method} came: {error}")]
    Broken {
        /// The socket.
        socket: String,
        /// The method that was called.
        method: String,
        /// What zlink said.
        error: String,
    },
    /// The other side is no supervisor of this version: it answered in a way not understood.
    #[error("{socket}: the answer to {method} is not understood: {error}")]
    Foreign {
        /// The socket.
        socket: String,
        /// The method that was called.
        method: String,
        /// What was wrong with it.
        error: String,
    },
}

/// A connection to the supervisor.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    socket: PathBuf,
}

#[derive(Debug, Serialize)]
struct Request<'a, P> {
    method: &'a str,
    parameters: P,
}

#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct LogRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    lines: u32,
    follow: bool,
}

#[derive(Debug, Serialize)]
struct ShutdownRequest {
    kind: ShutdownKind,
}

/// A reply whose parameters nobody needs.
#[derive(Debug, Deserialize)]
struct Empty {}

impl Client {
    /// Connects to the supervisor's socket.
    ///
    /// # Errors
    /// [`CallError::Connect`] with what the kernel said.
    pub async fn connect(socket: &Path) -> Result<Client, CallError> {
        let failed = |error| CallError::Connect { socket: socket.display().to_string(), error };
        let connection = match zlink::tokio::unix::connect(socket).await {
            Ok(connection) => connection,
            Err(zlink::Error::Io(error)) => return Err(failed(error)),
            Err(error) => return Err(failed(std::io::Error::other(error.to_string()))),
        };
        Ok(Client { connection, socket: socket.to_owned() })
    }

    /// `GetStatus`: the host, and one service or all.
    ///
    /// # Errors
    /// Every call: [`CallError::Answered`] if the supervisor says no, else what broke.
    pub async fn status(&mut self, name: Option<&str>) -> Result<Status, CallError> {
        self.call("GetStatus", Named { name }).await
    }

    /// `ListProcesses`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn processes(&mut self) -> Result<ProcessList, CallError> {
        self.call("ListProcesses", Nothing {}).await
    }

    /// `Start`: returns when the service is ready.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn start(&mut self, name: &str) -> Result<Changed, CallError> {
        self.call("Start", Named { name: Some(name) }).await
    }

    /// `Stop`: returns when the service is down.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn stop(&mut self, name: &str) -> Result<Changed, CallError> {
        self.call("Stop", Named { name: Some(name) }).await
    }

    /// `Restart`: returns when the service is ready again.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn restart(&mut self, name: &str) -> Result<Changed, CallError> {
        self.call("Restart", Named { name: Some(name) }).await
    }

    /// `Shutdown`: returns when it is under way.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn shutdown(&mut self, kind: ShutdownKind) -> Result<(), CallError> {
        self.send("Shutdown", ShutdownRequest { kind }, false).await?;
        self.receive::<Empty>("Shutdown").await.map(|_| ())
    }

    /// `GetLogs`: the replies come from the returned [`Replies`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn logs(
        &mut self,
        name: Option<&str>,
        lines: u32,
        follow: bool,
    ) -> Result<Replies<'_, LogBatch>, CallError> {
        self.send("GetLogs", LogRequest { name, lines, follow }, true).await?;
        Ok(Replies::new(self, "GetLogs"))
    }

    /// `WatchEvents`: what happened, and with `follow` what happens.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn events(&mut self, follow: bool) -> Result<Replies<'_, EventBatch>, CallError> {
        self.send("WatchEvents", Nothing {}, follow).await?;
        Ok(Replies::new(self, "WatchEvents"))
    }

    async fn call<P, R>(&mut self, method: &'static str, parameters: P) -> Result<R, CallError>
    where
        P: Serialize + Debug,
        R: for<'a> Deserialize<'a> + Debug,
    {
        self.send(method, parameters, false).await?;
        let (reply, _) = self.receive::<R>(method).await?;
        reply.ok_or_else(|| CallError::Foreign {
            socket: self.socket.display().to_string(),
            method: method.to_owned(),
            error: "it carries no parameters".to_owned(),
        })
    }

    async fn send<P>(&mut self, method: &str, parameters: P, more: bool) -> Result<(), CallError>
    where
        P: Serialize + Debug,
    {
        let full = format!("{INTERFACE}.{method}");
        let call = Call::new(Request { method: &full, parameters }).set_more(more);
        let sent = self.connection.send_call(&call, Vec::new()).await;
        sent.map_err(|error| self.failed(method, error))
    }

    /// The parameters of the next reply, and whether more follow.
    async fn receive<R>(&mut self, method: &str) -> Result<(Option<R>, bool), CallError>
    where
        R: for<'a> Deserialize<'a> + Debug,
    {
        match self.connection.receive_reply::<R, crate::Error>().await {
            Ok((Ok(reply), _)) => {
                let continues = reply.continues().unwrap_or(false);
                Ok((reply.into_parameters(), continues))
            }
            Ok((Err(error), _)) => Err(error.into()),
            Err(error) => Err(self.failed(method, error)),
        }
    }

    fn failed(&self, method: &str, error: zlink::Error) -> CallError {
        let socket = self.socket.display().to_string();
        let method = method.to_owned();
        match error {
            zlink::Error::Io(error) => {
                CallError::Broken { socket, method, error: error.to_string() }
            }
            zlink::Error::UnexpectedEof => {
                CallError::Broken { socket, method, error: "the supervisor closed it".to_owned() }
            }
            other => CallError::Foreign { socket, method, error: other.to_string() },
        }
    }
}

/// The replies of a streaming call, one after the other.
#[derive(Debug)]
pub struct Replies<'a, R> {
    client: &'a mut Client,
    method: &'static str,
    continues: bool,
    reply: std::marker::PhantomData<R>,
}

impl<'a, R> Replies<'a, R>
where
    R: for<'de> Deserialize<'de> + Debug,
{
    fn new(client: &'a mut Client, method: &'static str) -> Self {
        Replies { client, method, continues: true, reply: std::marker::PhantomData }
    }

    /// The next reply; `None` after the last.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn next(&mut self) -> Result<Option<R>, CallError> {
        if !self.continues {
            return Ok(None);
        }
        let received = self.client.receive::<R>(self.method).await;
        self.continues = matches!(received, Ok((_, true)));
        received.map(|(reply, _)| reply)
    }
}
