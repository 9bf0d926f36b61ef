//! The address of a ledger, as people write it.

use std::path::PathBuf;
use std::str::FromStr;

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
            "{}; write file:///FOLDER, etcd://HOST:2379/PREFIX or etcds://HOST:2379/PREFIX?ca=FILE",
            self.0
        )
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason: &str| AddressError(format!("ledger `{text}`: {reason}"));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme"));
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::File { folder: PathBuf::from(rest) }),
            "file" => Err(wrong("the folder must be absolute")),
            "etcd" | "etcds" => etcd(scheme == "etcds", rest).map_err(|reason| wrong(&reason)),
            _ => Err(wrong("this scheme is not known")),
        }
    }
}

fn etcd(encrypted: bool, rest: &str) -> Result<Address, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let scheme = if encrypted { "https" } else { "http" };
    let mut options = EtcdOptions {
        prefix: if prefix.is_empty() { "rollinit".to_owned() } else { prefix.to_owned() },
        ..EtcdOptions::default()
    };
    for host in hosts.split(',') {
        if host.contains('@') {
            return Err("a password has no place here: use user= and password-file=".to_owned());
        }
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
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
            ("etcds://a:2379?cert=/c", "belong together"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(reason) && error.contains("; write file"), "{error}");
        }
    }
}
