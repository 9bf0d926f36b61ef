//! The client half: typed calls to the agent over one connection.

use super::{Error, GenerationList, NoticeList, Reboot, SwapList, SwapReply};
use crate::client::{Interface, Wire};
use serde::Serialize;
use std::path::Path;

/// The agent's interface.
#[derive(Debug)]
pub struct OfAgent;

impl Interface for OfAgent {
    const NAME: &'static str = super::INTERFACE;
    const SERVER: &'static str = "agent";
    type Error = Error;
}

/// Why a call to the agent has no answer.
pub type CallError = crate::client::CallError<Error>;

/// The replies of a streaming call to the agent.
pub type Replies<'a, R> = crate::client::Replies<'a, R, OfAgent>;

/// A connection to the agent.
#[derive(Debug)]
pub struct Client {
    wire: Wire<OfAgent>,
}

/// The parameters of `Swap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SwapRequest<'a> {
    /// The app.
    pub app: &'a str,
    /// The store path to swap in.
    pub path: &'a str,
    /// It is undone unless it is confirmed in time.
    pub test: bool,
    /// In what time, with `test`; milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// Plan, say it, and touch nothing.
    pub dry_run: bool,
    /// Also a path that failed before.
    pub force: bool,
    /// One reply, as soon as it has begun.
    pub detach: bool,
    /// Of the system: whether the host may be rebooted for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Reboot>,
}

#[derive(Debug, Serialize)]
struct RollbackRequest<'a> {
    app: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    detach: bool,
}

#[derive(Debug, Serialize)]
struct OfSwap<'a> {
    swap: &'a str,
}

#[derive(Debug, Serialize)]
struct OfApp<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
}

impl Client {
    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// [`CallError::Connect`](crate::client::CallError::Connect) with what the kernel said.
    pub async fn connect(socket: &Path) -> Result<Client, CallError> {
        Ok(Client { wire: Wire::connect(socket).await? })
    }

    /// `Swap`: what is said of it comes from the returned replies; the last has the outcome.
    ///
    /// # Errors
    /// Every call: [`Answered`](crate::client::CallError::Answered) if the agent says no, else
    /// what broke.
    pub async fn swap(
        &mut self,
        request: &SwapRequest<'_>,
    ) -> Result<Replies<'_, SwapReply>, CallError> {
        self.wire.stream("Swap", request, true).await
    }

    /// `Rollback`: as [`Client::swap`].
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn rollback(
        &mut self,
        app: &str,
        generation: Option<u64>,
        detach: bool,
    ) -> Result<Replies<'_, SwapReply>, CallError> {
        self.wire.stream("Rollback", RollbackRequest { app, generation, detach }, true).await
    }

    /// `Follow`: as [`Client::swap`], of one that was begun before.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn follow(&mut self, swap: &str) -> Result<Replies<'_, SwapReply>, CallError> {
        self.wire.stream("Follow", OfSwap { swap }, true).await
    }

    /// `Confirm`.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn confirm(&mut self, app: &str) -> Result<(), CallError> {
        self.wire.order("Confirm", OfApp { app: Some(app) }).await
    }

    /// `Generations`.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn generations(&mut self, app: &str) -> Result<GenerationList, CallError> {
        self.wire.call("Generations", OfApp { app: Some(app) }).await
    }

    /// `Swaps`.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn swaps(&mut self, app: Option<&str>) -> Result<SwapList, CallError> {
        self.wire.call("Swaps", OfApp { app }).await
    }

    /// `Standing`.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn standing(&mut self) -> Result<NoticeList, CallError> {
        self.wire.call("Standing", OfApp { app: None }).await
    }

    /// `LeaveBalancers`.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn leave_balancers(&mut self) -> Result<(), CallError> {
        self.wire.order("LeaveBalancers", OfApp { app: None }).await
    }
}
