//! The address of a ledger, as people write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What all keys begin with, if the address says nothing else.
const PREFIX: &str = "rollinit";

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `file:///FOLDER`.
    File {
        /// The folder.
        folder: PathBuf,
    },
    /// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX][?user=NAME&password-file=FILE]`, or `etcds` with
    /// TLS and also `ca=FILE`, `cert=FILE&key=FILE`.
    Etcd(EtcdOptions),
    /// `dynamodb://TABLE[/PREFIX][?region=REGION&endpoint=URL]`.
    DynamoDb(CloudOptions),
    /// `s3://BUCKET[/PREFIX][?region=REGION&endpoint=URL]`.
    S3(CloudOptions),
}

/// Which table or bucket of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudOptions {
    /// The table's or the bucket's name.
    pub name: String,
    /// What all keys begin with: `rollinit` if nothing is said.
    pub prefix: String,
    /// Its region; nothing: that of this host, or of the environment.
    pub region: Option<String>,
    /// `http://HOST:PORT` of what is not AWS itself.
    pub endpoint: Option<String>,
}

/// How etcd is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdOptions {
    /// `http://HOST:PORT`, tried in turn.
    pub endpoints: Vec<String>,
    /// What all keys begin with: `rollinit` if nothing is said.
    pub prefix: String,
    /// A user of etcd, and the file with the password: a secret has no place in an address.
    pub user: Option<(String, PathBuf)>,
    /// Root certificates in PEM, instead of the system's.
    pub ca: Option<PathBuf>,
    /// This client's certificate and key in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl std::fmt::Display for AddressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}; write file:///FOLDER, etcd://HOST:2379/PREFIX, etcds://HOST:2379/PREFIX?ca=FILE, \
             dynamodb://TABLE?region=REGION or s3://BUCKET/PREFIX?region=REGION",
            self.0
        )
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason: &str| AddressError(format!("ledger `{}`: {reason}", shown(text)));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme"));
        };
        if authority(rest).contains('@') {
            return Err(wrong(
                "a password has no place here: etcd's is in a file (user= and \
                              password-file=), AWS's keys are the role's or the environment's",
            ));
        }
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::File { folder: PathBuf::from(rest) }),
            "file" => Err(wrong("the folder must be absolute")),
            "etcd" | "etcds" => etcd(scheme == "etcds", rest).map_err(|reason| wrong(&reason)),
            "dynamodb" => cloud(rest, 3, 255, "-_.")
                .map(Self::DynamoDb)
                .map_err(|reason| wrong(&format!("{reason} of a table"))),
            "s3" => cloud(rest, 3, 63, "-.")
                .map(Self::S3)
                .map_err(|reason| wrong(&format!("{reason} of a bucket"))),
            _ => Err(wrong("this scheme is not known")),
        }
    }
}

impl fmt::Display for Address {
    /// As it is parsed. No part of it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { folder } => write!(f, "file://{}", folder.display()),
            Self::Etcd(options) => options.fmt(f),
            Self::DynamoDb(options) => write!(f, "dynamodb://{options}"),
            Self::S3(options) => write!(f, "s3://{options}"),
        }
    }
}

impl fmt::Display for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_encrypted = self.endpoints.iter().any(|endpoint| endpoint.starts_with("https:"));
        let host = |endpoint: &String| {
            endpoint.split_once("://").map_or(endpoint.clone(), |(_, host)| host.to_owned())
        };
        let hosts: Vec<String> = self.endpoints.iter().map(host).collect();
        let scheme = if is_encrypted { "etcds" } else { "etcd" };
        write!(f, "{scheme}://{}/{}", hosts.join(","), self.prefix)?;
        let text = |path: &Path| path.display().to_string();
        let user = self.user.as_ref();
        let identity = self.identity.as_ref();
        query(
            f,
            [
                ("ca", self.ca.as_deref().map(text)),
                ("cert", identity.map(|(certificate, _)| text(certificate))),
                ("key", identity.map(|(_, key)| text(key))),
                ("user", user.map(|(user, _)| user.clone())),
                ("password-file", user.map(|(_, file)| text(file))),
            ],
        )
    }
}

impl fmt::Display for CloudOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.prefix)?;
        query(f, [("region", self.region.clone()), ("endpoint", self.endpoint.clone())])
    }
}

fn query<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    pairs: [(&str, Option<String>); N],
) -> fmt::Result {
    let mut separator = '?';
    for (name, value) in pairs {
        if let Some(value) = value {
            write!(f, "{separator}{name}={value}")?;
            separator = '&';
        }
    }
    Ok(())
}

/// What stands before the path and the query. A folder has none.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// An address that is none, without what somebody may have put into it as a secret: it is said in
/// logs, and in notices that travel.
fn shown(text: &str) -> String {
    let (head, mark) = match text.split_once('?') {
        Some((head, _)) => (head, "?…"),
        None => (text, ""),
    };
    let Some((scheme, rest)) = head.split_once("://") else { return format!("{head}{mark}") };
    match authority(rest).rsplit_once('@') {
        Some((secret, _)) => format!("{scheme}://…{}{mark}", &rest[secret.len()..]),
        None => format!("{head}{mark}"),
    }
}

/// `NAME[/PREFIX][?region=REGION&endpoint=URL]`. The reason of an error ends before "of a table".
fn cloud(rest: &str, least: usize, most: usize, marks: &str) -> Result<CloudOptions, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let is_of = |text: &str, marks: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
    };
    if !is_of(name, marks) || !(least..=most).contains(&name.len()) {
        return Err(format!("`{name}` is no name"));
    }
    let mut options = CloudOptions {
        name: name.to_owned(),
        prefix: if prefix.is_empty() { PREFIX.to_owned() } else { prefix.to_owned() },
        ..CloudOptions::default()
    };
    if crate::key::check("", &options.prefix).is_err() {
        return Err(format!("`{prefix}` is no prefix in keys"));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (slot, is_sound) = match name {
            "region" => (&mut options.region, is_of(value, "-")),
            "endpoint" => (&mut options.endpoint, is_endpoint(value)),
            _ => return Err(format!("`{name}` is not known in the address")),
        };
        if !is_sound {
            return Err(format!("`{value}` is no {name}"));
        }
        *slot = Some(value.to_owned());
    }
    Ok(options)
}

/// `http://HOST[:PORT]`, or `https`.
fn is_endpoint(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    host.is_some_and(|host| !host.is_empty() && host.chars().all(fits))
}

fn etcd(encrypted: bool, rest: &str) -> Result<Address, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let scheme = if encrypted { "https" } else { "http" };
    let mut options = EtcdOptions {
        prefix: if prefix.is_empty() { PREFIX.to_owned() } else { prefix.to_owned() },
        ..EtcdOptions::default()
    };
    if crate::key::check("", &options.prefix).is_err() {
        return Err(format!("`{prefix}` is no prefix of keys"));
    }
    for host in hosts.split(',') {
        let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
            return Err(format!("`{host}` is not HOST:PORT"));
        }
        options.endpoints.push(format!("{scheme}://{host}"));
    }
    let (mut user, mut password, mut certificate, mut key) = (None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "user" => {
                user = Some(value.to_owned());
                continue;
            }
            "password-file" => &mut password,
            "ca" if encrypted => &mut options.ca,
            "cert" if encrypted => &mut certificate,
            "key" if encrypted => &mut key,
            _ => return Err(format!("`{name}` is not known here")),
        };
        *slot = Some(PathBuf::from(value));
    }
    options.user = both(user, password, "user= and password-file=")?;
    options.identity = both(certificate, key, "cert= and key=")?;
    Ok(Address::Etcd(options))
}

fn both<A, B>(one: Option<A>, other: Option<B>, names: &str) -> Result<Option<(A, B)>, String> {
    match (one, other) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        _ => Err(format!("{names} belong together")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let file: Address = "file:///var/lib/ledger".parse().expect("a folder");
        assert_eq!(file, Address::File { folder: "/var/lib/ledger".into() });
        let Ok(Address::Etcd(etcd)) = "etcd://a:2379,[::1]:2380/fleet/one".parse() else {
            panic!("etcd")
        };
        assert_eq!(etcd.endpoints, ["http://a:2379", "http://[::1]:2380"]);
        assert_eq!(etcd.prefix, "fleet/one");
        let text = "etcds://a:2379?ca=/ca&cert=/c&key=/k&user=u&password-file=/p";
        let Ok(Address::Etcd(etcd)) = text.parse() else { panic!("etcds") };
        assert_eq!(etcd.prefix, "rollinit");
        assert_eq!(etcd.identity, Some(("/c".into(), "/k".into())));
        assert_eq!(etcd.user, Some(("u".to_owned(), "/p".into())));
        let text = "dynamodb://fleet-1?region=eu-central-1";
        let Ok(Address::DynamoDb(table)) = text.parse() else { panic!("dynamodb") };
        assert_eq!((table.name.as_str(), table.prefix.as_str()), ("fleet-1", "rollinit"));
        assert_eq!(table.region.as_deref(), Some("eu-central-1"));
        let text = "s3://fleet.example/a/b/?endpoint=http://[::1]:9000";
        let Ok(Address::S3(bucket)) = text.parse() else { panic!("s3") };
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("fleet.example", "a/b"));
        assert_eq!(bucket.endpoint.as_deref(), Some("http://[::1]:9000"));
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "file:///var/lib/ledger",
            "etcd://a:2379,[::1]:2380/fleet/one?user=u&password-file=/p",
            "etcds://a:2379/rollinit?ca=/ca&cert=/c&key=/k",
            "dynamodb://fleet-1/rollinit?region=eu-central-1",
            "s3://fleet.example/a/b?region=r&endpoint=http://10.0.0.1:9000",
        ] {
            assert_eq!(text.parse::<Address>().expect("an address").to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (text, reason) in [
            ("web", "no scheme"),
            ("redis://a:1", "not known"),
            ("file://relative", "absolute"),
            ("etcd://a", "HOST:PORT"),
            ("etcd://root:secret@a:2379", "no place"),
            ("etcd://a:2379?ca=/ca", "`ca` is not known"),
            ("etcd://a:2379?password=secret", "`password` is not known"),
            ("etcd://:2379", "HOST:PORT"),
            ("etcd://a:2379/a b", "`a b` is no prefix"),
            ("etcds://a:2379?cert=/c", "belong together"),
            ("dynamodb://a", "`a` is no name of a table"),
            ("dynamodb://key:secret@fleet", "`dynamodb://…@fleet`: a password has no place"),
            ("redis://secret@a/b", "no place"),
            ("s3://fleet/a b", "`a b` is no prefix"),
            ("s3://fleet/../x", "no prefix"),
            ("s3://fleet?region=a/b", "`a/b` is no region"),
            ("s3://fleet?endpoint=ftp://a", "no endpoint"),
            ("s3://fleet?profile=x", "`profile` is not known"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(reason) && error.contains("; write file"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
