//! What a group is told of an instance that is missing for a while and will be back.

use super::{AutoScaling, Nothing, query};
use crate::error::Result;

/// What a group does about an instance that it finds unwell: it finds out, and replaces it.
const REPLACEMENT: [&str; 2] = ["HealthCheck", "ReplaceUnhealthy"];

impl AutoScaling<'_> {
    /// Puts `instance` into standby: nobody checks or replaces it, and the group wants one less.
    /// Needs `autoscaling:EnterStandby`.
    ///
    /// # Errors
    /// The call failed; also if the group may not become that small.
    pub async fn enter_standby(&self, group: &str, instance: &str) -> Result<()> {
        standby("autoscaling:EnterStandby", group, instance)
            .with("ShouldDecrementDesiredCapacity", "true")
            .ask::<Nothing>(self.0)
            .await
            .map(drop)
    }

    /// Takes `instance` out of standby. Needs `autoscaling:ExitStandby`.
    ///
    /// # Errors
    /// The call failed; also if it is in no standby.
    pub async fn exit_standby(&self, group: &str, instance: &str) -> Result<()> {
        let query = standby("autoscaling:ExitStandby", group, instance);
        query.ask::<Nothing>(self.0).await.map(drop)
    }

    /// The group replaces nobody until it is told otherwise. Needs
    /// `autoscaling:SuspendProcesses`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn suspend_replacement(&self, group: &str) -> Result<()> {
        self.replacement("autoscaling:SuspendProcesses", group).await
    }

    /// The group replaces whoever is unwell, again. Needs `autoscaling:ResumeProcesses`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn resume_replacement(&self, group: &str) -> Result<()> {
        self.replacement("autoscaling:ResumeProcesses", group).await
    }

    async fn replacement(&self, name: &'static str, group: &str) -> Result<()> {
        let query = query(name, group).with("AutoScalingGroupName", group);
        let query = query.with_list("ScalingProcesses.member", REPLACEMENT);
        query.ask::<Nothing>(self.0).await.map(drop)
    }
}

fn standby(name: &'static str, group: &str, instance: &str) -> crate::query::Query {
    query(name, &format!("{instance} of {group}"))
        .with("AutoScalingGroupName", group)
        .with_list("InstanceIds.member", [instance])
}
