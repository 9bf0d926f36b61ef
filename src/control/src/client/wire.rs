//! One connection to a Varlink service of ours: calls, replies and what may break.

use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use zlink::Call;
use zlink::tokio::unix::Connection;

/// Why a call has no answer; `E` are the errors of the interface.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E = crate::Error> {
    /// The other side answered with an error.
    #[error("{0}")]
    Answered(E),
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
    /// The other side is none of this version: it answered in a way not understood.
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

/// Which interface, and what its errors are.
pub trait Interface {
    /// Its name.
    const NAME: &'static str;
    /// Who serves it, for a person.
    const SERVER: &'static str;
    /// Its errors.
    type Error: for<'a> Deserialize<'a> + Debug;
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire<I> {
    connection: Connection,
    socket: PathBuf,
    interface: std::marker::PhantomData<I>,
}

#[derive(Debug, Serialize)]
struct Request<'a, P> {
    method: &'a str,
    parameters: P,
}

/// Parameters of a method that has none.
#[derive(Debug, Serialize)]
pub(crate) struct Nothing {}

/// A reply whose parameters nobody needs.
#[derive(Debug, Deserialize)]
struct Empty {}

impl<I: Interface> Wire<I> {
    pub(crate) async fn connect(socket: &Path) -> Result<Wire<I>, CallError<I::Error>> {
        let failed = |error| CallError::Connect { socket: socket.display().to_string(), error };
        let connection = match zlink::tokio::unix::connect(socket).await {
            Ok(connection) => connection,
            Err(zlink::Error::Io(error)) => return Err(failed(error)),
            Err(error) => return Err(failed(std::io::Error::other(error.to_string()))),
        };
        Ok(Wire { connection, socket: socket.to_owned(), interface: std::marker::PhantomData })
    }

    /// One call with one reply.
    pub(crate) async fn call<P, R>(
        &mut self,
        method: &'static str,
        parameters: P,
    ) -> Result<R, CallError<I::Error>>
    where
        P: Serialize + Debug,
        R: for<'a> Deserialize<'a> + Debug,
    {
        self.send(method, parameters, false).await?;
        let (reply, _) = self.receive::<R>(method).await?;
        reply.ok_or_else(|| self.foreign(method, "it carries no parameters"))
    }

    /// One call whose reply says nothing but that it is done.
    pub(crate) async fn order<P>(
        &mut self,
        method: &'static str,
        parameters: P,
    ) -> Result<(), CallError<I::Error>>
    where
        P: Serialize + Debug,
    {
        self.send(method, parameters, false).await?;
        self.receive::<Empty>(method).await.map(|_| ())
    }

    /// One call with several replies.
    pub(crate) async fn stream<P, R>(
        &mut self,
        method: &'static str,
        parameters: P,
        more: bool,
    ) -> Result<Replies<'_, R, I>, CallError<I::Error>>
    where
        P: Serialize + Debug,
    {
        self.send(method, parameters, more).await?;
        Ok(Replies { wire: self, method, continues: true, reply: std::marker::PhantomData })
    }

    async fn send<P>(
        &mut self,
        method: &str,
        parameters: P,
        more: bool,
    ) -> Result<(), CallError<I::Error>>
    where
        P: Serialize + Debug,
    {
        let full = format!("{}.{method}", I::NAME);
        let call = Call::new(Request { method: &full, parameters }).set_more(more);
        let sent = self.connection.send_call(&call, Vec::new()).await;
        sent.map_err(|error| self.failed(method, error))
    }

    /// The parameters of the next reply, and whether more follow.
    async fn receive<R>(&mut self, method: &str) -> Result<(Option<R>, bool), CallError<I::Error>>
    where
        R: for<'a> Deserialize<'a> + Debug,
    {
        match self.connection.receive_reply::<R, I::Error>().await {
            Ok((Ok(reply), _)) => {
                let continues = reply.continues().unwrap_or(false);
                Ok((reply.into_parameters(), continues))
            }
            Ok((Err(error), _)) => Err(CallError::Answered(error)),
            Err(error) => Err(self.failed(method, error)),
        }
    }

    fn failed(&self, method: &str, error: zlink::Error) -> CallError<I::Error> {
        let socket = self.socket.display().to_string();
        let method = method.to_owned();
        match error {
            zlink::Error::Io(error) => {
                CallError::Broken { socket, method, error: error.to_string() }
            }
            zlink::Error::UnexpectedEof => {
                let error = format!("the {} closed it", I::SERVER);
                CallError::Broken { socket, method, error }
            }
            other => CallError::Foreign { socket, method, error: other.to_string() },
        }
    }

    fn foreign(&self, method: &str, error: &str) -> CallError<I::Error> {
        CallError::Foreign {
            socket: self.socket.display().to_string(),
            method: method.to_owned(),
            error: error.to_owned(),
        }
    }
}

/// The replies of a streaming call, one after the other.
#[derive(Debug)]
pub struct Replies<'a, R, I> {
    wire: &'a mut Wire<I>,
    method: &'static str,
    continues: bool,
    reply: std::marker::PhantomData<R>,
}

impl<R, I> Replies<'_, R, I>
where
    R: for<'de> Deserialize<'de> + Debug,
    I: Interface,
{
    /// The next reply; `None` after the last.
    ///
    /// # Errors
    /// [`CallError::Answered`] if the other side says no, else what broke.
    pub async fn next(&mut self) -> Result<Option<R>, CallError<I::Error>> {
        if !self.continues {
            return Ok(None);
        }
        let received = self.wire.receive::<R>(self.method).await;
        self.continues = matches!(received, Ok((_, true)));
        received.map(|(reply, _)| reply)
    }
}
