//! The documents of one instance, as EC2 would have them.

use crate::state::State;
use serde_json::json;

/// An instance to be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `eu-central-1`.
    pub region: String,
    /// `t3.small`.
    pub kind: String,
    /// `ami-…`.
    pub image: String,
    /// Twelve digits.
    pub account: String,
    /// Its private IPv4 address.
    pub address: String,
    /// The role whose credentials it has; nothing: none.
    pub role: Option<String>,
    /// Its tags; nothing: it does not tell them.
    pub tags: Option<Vec<(String, String)>>,
    /// Its user-data; nothing: none.
    pub user_data: Option<String>,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: "i-0123456789abcdef0".to_owned(),
            region: "eu-central-1".to_owned(),
            kind: "t3.small".to_owned(),
            image: "ami-0123456789abcdef0".to_owned(),
            account: "123456789012".to_owned(),
            address: "169.254.0.15".to_owned(),
            role: Some("host".to_owned()),
            tags: Some(Vec::new()),
            user_data: None,
        }
    }
}

/// Credentials last for six hours on EC2.
const CREDENTIALS_S: u64 = 6 * 60 * 60;

impl Instance {
    /// All its documents.
    #[must_use]
    pub fn state(&self) -> State {
        let mut state = State::default();
        let zone = format!("{}a", self.region);
        let host = format!("ip-{}", self.address.replace('.', "-"));
        let host = format!("{host}.{}.compute.internal", self.region);
        state.set(
            "dynamic/instance-identity/document",
            json!({
                "accountId": self.account,
                "architecture": "x86_64",
                "availabilityZone": zone,
                "imageId": self.image,
                "instanceId": self.id,
                "instanceType": self.kind,
                "pendingTime": "${now+0}",
                "privateIp": self.address,
                "region": self.region,
                "version": "2017-09-30",
            }),
        );
        for (name, text) in [
            ("ami-id", self.image.as_str()),
            ("hostname", &host),
            ("instance-id", &self.id),
            ("instance-life-cycle", "on-demand"),
            ("instance-type", &self.kind),
            ("local-hostname", &host),
            ("local-ipv4", &self.address),
            ("placement/availability-zone", &zone),
            ("placement/region", &self.region),
            ("services/domain", "amazonaws.com"),
            ("services/partition", "aws"),
        ] {
            state.set(&format!("meta-data/{name}"), text);
        }
        if let Some(role) = &self.role {
            let path = format!("meta-data/iam/security-credentials/{role}");
            state.set(&path, credentials("ASIAIMDS", CREDENTIALS_S));
        }
        for (key, value) in self.tags.iter().flatten() {
            state.set(&format!("meta-data/tags/instance/{key}"), value.as_str());
        }
        if let Some(user_data) = &self.user_data {
            state.set("user-data", user_data.as_str());
        }
        state
    }
}

/// A role's credentials that last for `seconds` from each request on.
#[must_use]
pub fn credentials(id: &str, seconds: u64) -> serde_json::Value {
    json!({
        "Code": "Success",
        "LastUpdated": "${now+0}",
        "Type": "AWS-HMAC",
        "AccessKeyId": id,
        "SecretAccessKey": format!("secret-of-{id}"),
        "Token": format!("token-of-{id}"),
        "Expiration": format!("${{now+{seconds}}}"),
    })
}
