//! Elastic Load Balancing, version 2: target groups, and the targets that are registered in them.

use crate::aws::Aws;
use crate::endpoint::Service;
use crate::error::Result;
use crate::query::{List, Query};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The calls. [`Aws::elb`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Elb<'a>(pub(crate) &'a Aws);

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetGroup {
    /// Its ARN.
    #[serde(rename = "TargetGroupArn")]
    pub arn: String,
    /// Its name.
    #[serde(rename = "TargetGroupName")]
    pub name: String,
    /// The port of targets that are registered without one; a group of functions has none.
    #[serde(default)]
    pub port: Option<u16>,
    /// `instance`, `ip`, `lambda`, `alb`.
    #[serde(default)]
    pub target_type: String,
    /// From one health check to the next, in seconds.
    #[serde(rename = "HealthCheckIntervalSeconds", default)]
    pub interval_s: u64,
    /// How long one may take, in seconds.
    #[serde(rename = "HealthCheckTimeoutSeconds", default)]
    pub timeout_s: u64,
    /// Good ones in a row that make a target healthy.
    #[serde(rename = "HealthyThresholdCount", default)]
    pub healthy_threshold: u64,
}

/// A target: an instance or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// `i-…` or an IP address, as the group's type says.
    pub id: String,
    /// Its port.
    #[serde(default)]
    pub port: Option<u16>,
}

/// How a target is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetHealth {
    /// Which.
    pub target: Target,
    /// How.
    #[serde(rename = "TargetHealth")]
    pub health: Health,
}

/// How a target is, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `initial`, `healthy`, `unhealthy`, `unused`, `draining`, `unavailable`.
    pub state: String,
    /// `Target.ResponseCodeMismatch`, `Target.Timeout`, …; empty while healthy.
    #[serde(default)]
    pub reason: String,
    /// A sentence; empty while healthy.
    #[serde(default)]
    pub description: String,
}

impl Elb<'_> {
    /// The target group of this ARN or name. Needs `elasticloadbalancing:DescribeTargetGroups`.
    ///
    /// # Errors
    /// The call failed; also if there is none.
    pub async fn target_group(&self, group: &str) -> Result<Option<TargetGroup>> {
        let prefix = if group.starts_with("arn:") { "TargetGroupArns" } else { "Names" };
        let query = query("elasticloadbalancing:DescribeTargetGroups", group);
        let query = query.with_list(&format!("{prefix}.member"), [group]);
        let response = query.ask::<Groups>(self.0).await?;
        Ok(response.result.list.item.into_iter().next())
    }

    /// How long the group lets requests of a target that leaves go on. Needs
    /// `elasticloadbalancing:DescribeTargetGroupAttributes`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn deregistration_delay(&self, arn: &str) -> Result<Option<Duration>> {
        let query = query("elasticloadbalancing:DescribeTargetGroupAttributes", arn);
        let response = query.with("TargetGroupArn", arn).ask::<Attributes>(self.0).await?;
        let list = response.result.list.item.into_iter();
        let all: BTreeMap<String, String> = list.map(|one| (one.key, one.value)).collect();
        let seconds = all.get("deregistration_delay.timeout_seconds");
        Ok(seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs))
    }

    /// All targets of a group, those that leave among them. Needs
    /// `elasticloadbalancing:DescribeTargetHealth`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn targets(&self, arn: &str) -> Result<Vec<TargetHealth>> {
        let query = query("elasticloadbalancing:DescribeTargetHealth", arn);
        let response = query.with("TargetGroupArn", arn).ask::<Healths>(self.0).await?;
        Ok(response.result.list.item)
    }

    /// Registers a target; one that is there already, or is leaving, is as good. Needs
    /// `elasticloadbalancing:RegisterTargets`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn register(&self, arn: &str, target: &Target) -> Result<()> {
        let query = change("elasticloadbalancing:RegisterTargets", arn, target);
        query.ask::<Nothing>(self.0).await.map(drop)
    }

    /// Deregisters a target; one that is not there is as good. Needs
    /// `elasticloadbalancing:DeregisterTargets`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn deregister(&self, arn: &str, target: &Target) -> Result<()> {
        let query = change("elasticloadbalancing:DeregisterTargets", arn, target);
        query.ask::<Nothing>(self.0).await.map(drop)
    }
}

fn query(name: &'static str, object: &str) -> Query {
    Query::new(Service::Elb, name, object)
}

fn change(name: &'static str, arn: &str, target: &Target) -> Query {
    let port = target.port.map_or_else(String::new, |port| format!(":{port}"));
    let object = format!("{}{port} in {arn}", target.id);
    let query = query(name, &object)
        .with("TargetGroupArn", arn)
        .with("Targets.member.1.Id", target.id.as_str());
    match target.port {
        Some(port) => query.with("Targets.member.1.Port", port.to_string()),
        None => query,
    }
}

/// An answer that is not looked at.
#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Groups {
    #[serde(rename = "DescribeTargetGroupsResult")]
    result: GroupsResult,
}

#[derive(Deserialize)]
struct GroupsResult {
    #[serde(rename = "TargetGroups", default)]
    list: List<TargetGroup>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "DescribeTargetGroupAttributesResult")]
    result: AttributesResult,
}

#[derive(Deserialize)]
struct AttributesResult {
    #[serde(rename = "Attributes", default)]
    list: List<Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Healths {
    #[serde(rename = "DescribeTargetHealthResult")]
    result: HealthsResult,
}

#[derive(Deserialize)]
struct HealthsResult {
    #[serde(rename = "TargetHealthDescriptions", default)]
    list: List<TargetHealth>,
}
