//! Auto Scaling: in which group an instance is, and the hooks that wait for it.

mod absence;

use crate::aws::Aws;
use crate::endpoint::Service;
use crate::error::Result;
use crate::query::{List, Query};
use serde::Deserialize;

/// The calls. [`Aws::auto_scaling`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct AutoScaling<'a>(pub(crate) &'a Aws);

/// An instance as its group sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// The group.
    #[serde(rename = "AutoScalingGroupName")]
    pub group: String,
    /// `InService`, `Pending:Wait`, `Terminating:Wait`, …
    pub lifecycle_state: String,
}

/// A lifecycle hook of a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hook {
    /// Its name.
    #[serde(rename = "LifecycleHookName")]
    pub name: String,
    /// [`TERMINATING`] or its counterpart at launches.
    #[serde(rename = "LifecycleTransition")]
    pub transition: String,
    /// How long the group waits for a word, in seconds.
    #[serde(rename = "HeartbeatTimeout", default)]
    pub heartbeat_timeout_s: Option<u64>,
}

/// The transition of hooks that hold up an instance's end.
pub const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// What a hook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookResult {
    /// Go on.
    Continue,
    /// Give up. At an end both mean that the instance is ended.
    Abandon,
}

impl AutoScaling<'_> {
    /// The group of `instance`; nothing if it is in none. Needs
    /// `autoscaling:DescribeAutoScalingInstances`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn member(&self, instance: &str) -> Result<Option<Member>> {
        let name = "autoscaling:DescribeAutoScalingInstances";
        let query = query(name, instance).with_list("InstanceIds.member", [instance]);
        let response = query.ask::<Members>(self.0).await?;
        Ok(response.result.list.item.into_iter().next())
    }

    /// The lifecycle hooks of `group`. Needs `autoscaling:DescribeLifecycleHooks`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn hooks(&self, group: &str) -> Result<Vec<Hook>> {
        let query = query("autoscaling:DescribeLifecycleHooks", group);
        let response = query.with("AutoScalingGroupName", group).ask::<Hooks>(self.0).await?;
        Ok(response.result.list.item)
    }

    /// Tells a hook that `instance` still needs time: its timeout begins anew. Needs
    /// `autoscaling:RecordLifecycleActionHeartbeat`.
    ///
    /// # Errors
    /// The call failed; also if the hook waits for nothing.
    pub async fn heartbeat(&self, group: &str, hook: &str, instance: &str) -> Result<()> {
        let name = "autoscaling:RecordLifecycleActionHeartbeat";
        action(name, group, hook, instance).ask::<Nothing>(self.0).await.map(drop)
    }

    /// Tells a hook that it need not wait for `instance` any longer. Needs
    /// `autoscaling:CompleteLifecycleAction`.
    ///
    /// # Errors
    /// The call failed; also if the hook waits for nothing.
    pub async fn complete(
        &self,
        group: &str,
        hook: &str,
        instance: &str,
        result: HookResult,
    ) -> Result<()> {
        let word = match result {
            HookResult::Continue => "CONTINUE",
            HookResult::Abandon => "ABANDON",
        };
        let query = action("autoscaling:CompleteLifecycleAction", group, hook, instance);
        query.with("LifecycleActionResult", word).ask::<Nothing>(self.0).await.map(drop)
    }
}

fn query(name: &'static str, object: &str) -> Query {
    Query::new(Service::AutoScaling, name, object)
}

fn action(name: &'static str, group: &str, hook: &str, instance: &str) -> Query {
    query(name, &format!("{group}/{hook} {instance}"))
        .with("AutoScalingGroupName", group)
        .with("LifecycleHookName", hook)
        .with("InstanceId", instance)
}

/// An answer that is not looked at.
#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Members {
    #[serde(rename = "DescribeAutoScalingInstancesResult")]
    result: MembersResult,
}

#[derive(Deserialize)]
struct MembersResult {
    #[serde(rename = "AutoScalingInstances", default)]
    list: List<Member>,
}

#[derive(Deserialize)]
struct Hooks {
    #[serde(rename = "DescribeLifecycleHooksResult")]
    result: HooksResult,
}

#[derive(Deserialize)]
struct HooksResult {
    #[serde(rename = "LifecycleHooks", default)]
    list: List<Hook>,
}
