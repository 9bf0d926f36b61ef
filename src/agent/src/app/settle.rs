//! Between swaps: the host is in its balancers, and of two ports the one that serves.

use super::{App, Input, Task, Tools, balanced, ports};
use std::rc::Rc;
use tokio::task::AbortHandle;

impl Task {
    /// Has it so, once after each swap, and as long as something is out that is to come back.
    pub(super) fn settle(&mut self, is_busy: bool) {
        if is_busy {
            return self.unsettle();
        }
        let is_in = self.is_settled && !self.tools.balancers.is_out(&self.app.name);
        if is_in || self.settling.as_ref().is_some_and(|settling| !settling.is_finished()) {
            return;
        }
        self.is_settled = true;
        let (tools, app) = (Rc::clone(&self.tools), Rc::clone(&self.app));
        let settle = async move {
            if !ports::settle(&tools, &app).await {
                balanced::settle(tools, app).await;
            }
        };
        self.settling = Some(tokio::task::spawn_local(settle).abort_handle());
    }

    /// It is not so any more, or is not to be.
    pub(super) fn unsettle(&mut self) {
        self.settling.take().inspect(AbortHandle::abort);
        self.is_settled = false;
    }
}

/// Tells the app's task when a reload has another port serve, for the life of the agent.
pub(super) fn follow(tools: &Rc<Tools>, app: &Rc<App>) {
    if !tools.balancers.fronts(&app.name) {
        return;
    }
    let (tools, app) = (Rc::clone(tools), Rc::clone(app));
    tokio::task::spawn_local(async move {
        let changed = async || {
            tracing::info!("{}: after a reload another port serves", app.name);
            // The app's task lives as long as the agent.
            let _ = app.inbox.send(Input::OtherPorts).await;
        };
        ports::follow(&tools, &app, changed).await;
    });
}
