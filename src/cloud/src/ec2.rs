//! EC2: instances, volumes, tags.

mod run;

pub use run::{RunRequest, RunResult};

use crate::aws::Aws;
use crate::endpoint::Service;
use crate::error::Result;
use crate::limits;
use crate::query::{List, Page, Query};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The calls. [`Aws::ec2`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Ec2<'a>(pub(crate) &'a Aws);

/// What a listing is narrowed to: all filters, each by one of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// As EC2 names it: `tag:Name`, `attachment.instance-id`, `instance-state-name`, …
    pub name: String,
    /// Any of these; `*` stands for anything.
    pub values: Vec<String>,
}

impl Filter {
    /// One with one value.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }

    /// A tag with that value.
    #[must_use]
    pub fn tag(key: &str, value: &str) -> Self {
        Self::new(format!("tag:{key}"), value)
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// `i-…`.
    pub instance_id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
    #[serde(rename = "instanceState", deserialize_with = "state_name")]
    pub state: String,
    /// `t3.small`.
    #[serde(default)]
    pub instance_type: String,
    /// `ami-…`.
    #[serde(default)]
    pub image_id: String,
    /// When it was started.
    #[serde(deserialize_with = "crate::time::deserialize")]
    pub launch_time: SystemTime,
    /// In its subnet.
    #[serde(default)]
    pub private_ip_address: Option<String>,
    /// On the Internet.
    #[serde(rename = "ipAddress", default)]
    pub public_ip_address: Option<String>,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// An EBS volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// `vol-…`. Its NVMe serial is the same without the hyphen.
    pub volume_id: String,
    /// Gibibytes.
    pub size: u64,
    /// `available`, `in-use`, …
    pub status: String,
    /// Where it is attached.
    #[serde(rename = "attachmentSet", default, deserialize_with = "items")]
    pub attachments: Vec<Attachment>,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

impl Volume {
    /// The serial that its NVMe device shows: `vol0123…`.
    #[must_use]
    pub fn serial(&self) -> String {
        self.volume_id.replace('-', "")
    }
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// To which instance.
    pub instance_id: String,
    /// As what: `/dev/sdf`. An NVMe device has another name.
    #[serde(default)]
    pub device: String,
    /// `attaching`, `attached`, `detaching`, …
    #[serde(default)]
    pub status: String,
}

impl Ec2<'_> {
    /// The instances that pass all filters, terminated ones too for a while. Needs
    /// `ec2:DescribeInstances`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn instances(&self, filters: &[Filter]) -> Result<Vec<Instance>> {
        let query = listing("ec2:DescribeInstances", filters);
        let reservations = query.ask_all::<Reservations>(self.0).await?;
        Ok(reservations.into_iter().flat_map(|one| one.instances.item).collect())
    }

    /// The volumes that pass all filters. Needs `ec2:DescribeVolumes`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn volumes(&self, filters: &[Filter]) -> Result<Vec<Volume>> {
        listing("ec2:DescribeVolumes", filters).ask_all::<Volumes>(self.0).await
    }

    /// The tags of one resource: of an instance that does not tell them as metadata, of a volume.
    /// Needs `ec2:DescribeTags`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn tags(&self, resource: &str) -> Result<BTreeMap<String, String>> {
        let query = listing("ec2:DescribeTags", &[Filter::new("resource-id", resource)]);
        let tags = query.ask_all::<Tags>(self.0).await?;
        Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// Ends instances. Those that have ended already are left as they are. Needs
    /// `ec2:TerminateInstances`.
    ///
    /// # Errors
    /// The call failed; then none was ended.
    pub async fn terminate(&self, ids: &[&str]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let query = Query::new(Service::Ec2, "ec2:TerminateInstances", ids.join(" "));
        let query = query.with_list("InstanceId", ids.iter().copied());
        query.ask::<Nothing>(self.0).await.map(drop)
    }
}

/// A listing with its filters.
fn listing(name: &'static str, filters: &[Filter]) -> Query {
    let words: Vec<String> = filters
        .iter()
        .map(|filter| format!("{}={}", filter.name, filter.values.join(",")))
        .collect();
    let query = Query::new(Service::Ec2, name, words.join(" "));
    let query = query.with("MaxResults", limits::PAGE_ITEMS.to_string());
    filters.iter().enumerate().fold(query, |query, (index, filter)| {
        let prefix = format!("Filter.{}", index + 1);
        query
            .with(format!("{prefix}.Name"), &filter.name)
            .with_list(&format!("{prefix}.Value"), filter.values.iter().map(String::as_str))
    })
}

/// An answer that is not looked at.
#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservations {
    #[serde(default)]
    reservation_set: List<Reservation>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Reservation {
    #[serde(rename = "instancesSet", default)]
    instances: List<Instance>,
}

impl Page for Reservations {
    type Item = Reservation;

    fn into_parts(self) -> (Vec<Reservation>, Option<String>) {
        (self.reservation_set.item, self.next_token)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volumes {
    #[serde(default)]
    volume_set: List<Volume>,
    next_token: Option<String>,
}

impl Page for Volumes {
    type Item = Volume;

    fn into_parts(self) -> (Vec<Volume>, Option<String>) {
        (self.volume_set.item, self.next_token)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tags {
    #[serde(default)]
    tag_set: List<Tag>,
    next_token: Option<String>,
}

impl Page for Tags {
    type Item = Tag;

    fn into_parts(self) -> (Vec<Tag>, Option<String>) {
        (self.tag_set.item, self.next_token)
    }
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

fn tags<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    let list = List::<Tag>::deserialize(deserializer)?;
    Ok(list.item.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

fn items<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<T>, D::Error> {
    List::<T>::deserialize(deserializer).map(|list| list.item)
}

fn state_name<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<String, D::Error> {
    #[derive(Deserialize)]
    struct State {
        name: String,
    }
    State::deserialize(deserializer).map(|state| state.name)
}

#[cfg(test)]
mod tests;
