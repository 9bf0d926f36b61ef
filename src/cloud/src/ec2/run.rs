//! RunInstances, as hosts of ours want to be started.

use super::{Ec2, Instance};
use crate::endpoint::Service;
use crate::error::Result;
use crate::query::{List, Query};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Which instances to start. Their metadata service speaks version 2 alone, one hop far, and tells
/// their tags; a power-off from within ends them for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRequest {
    /// `ami-…`.
    pub image: String,
    /// `t3.small`.
    pub instance_type: String,
    /// How many; all of them or none.
    pub count: u32,
    /// Names the request: repeated with the same one, it starts nothing twice.
    pub client_token: String,
    /// As is; nothing for none.
    pub user_data: Option<Vec<u8>>,
    /// `subnet-…`; nothing: the default one.
    pub subnet: Option<String>,
    /// `sg-…`; none: the default one.
    pub security_groups: Vec<String>,
    /// The name of an instance profile.
    pub instance_profile: Option<String>,
    /// Gibibytes of the root volume; nothing: as the image says.
    pub root_size_gib: Option<u32>,
    /// Tags of the instances and their volumes.
    pub tags: BTreeMap<String, String>,
}

/// What was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunResult {
    /// The instances, `pending`.
    pub instances: Vec<Instance>,
}

/// The device name of the root volume in our images (`docs/ec2.md` registers them so).
const ROOT_DEVICE: &str = "/dev/xvda";

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "instancesSet", default)]
    instances: List<Instance>,
}

impl Ec2<'_> {
    /// Starts instances. Needs `ec2:RunInstances` and `ec2:CreateTags`, with an instance profile
    /// `iam:PassRole` too.
    ///
    /// # Errors
    /// The call failed; then none was started.
    pub async fn run(&self, request: &RunRequest) -> Result<RunResult> {
        let response = query(request).ask::<Response>(self.0).await?;
        Ok(RunResult { instances: response.instances.item })
    }
}

fn query(request: &RunRequest) -> Query {
    let count = request.count.to_string();
    let mut query = Query::new(Service::Ec2, "ec2:RunInstances", &request.image)
        .with("ImageId", &request.image)
        .with("InstanceType", &request.instance_type)
        .with("MinCount", &count)
        .with("MaxCount", &count)
        .with("ClientToken", &request.client_token)
        .with("InstanceInitiatedShutdownBehavior", "terminate")
        .with("MetadataOptions.HttpTokens", "required")
        .with("MetadataOptions.HttpPutResponseHopLimit", "1")
        .with("MetadataOptions.HttpEndpoint", "enabled")
        .with("MetadataOptions.InstanceMetadataTags", "enabled");
    if let Some(user_data) = &request.user_data {
        query = query.with("UserData", aws_smithy_types::base64::encode(user_data));
    }
    if let Some(subnet) = &request.subnet {
        query = query.with("SubnetId", subnet);
    }
    if let Some(profile) = &request.instance_profile {
        query = query.with("IamInstanceProfile.Name", profile);
    }
    if let Some(size) = request.root_size_gib {
        query = query
            .with("BlockDeviceMapping.1.DeviceName", ROOT_DEVICE)
            .with("BlockDeviceMapping.1.Ebs.VolumeSize", size.to_string());
    }
    query = query.with_list("SecurityGroupId", request.security_groups.iter().map(String::as_str));
    for (index, resource) in ["instance", "volume"].into_iter().enumerate() {
        let prefix = format!("TagSpecification.{}", index + 1);
        query = query.with(format!("{prefix}.ResourceType"), resource);
        for (number, (key, value)) in request.tags.iter().enumerate() {
            let prefix = format!("{prefix}.Tag.{}", number + 1);
            query = query.with(format!("{prefix}.Key"), key).with(format!("{prefix}.Value"), value);
        }
    }
    query
}
