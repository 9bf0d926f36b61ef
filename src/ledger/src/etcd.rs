//! The engine `etcd`: version 3.4 or newer, by the JSON gateway of its v3 API.
//!
//! Format: etcd's `rpc.proto` by grpc-gateway (etcd.io, "gRPC gateway"): `int64` are strings, what
//! has its default value is left out, keys and values are base64. An entry's version is its
//! `mod_revision`. Reads are linearizable, which is etcd's default.

use crate::key;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CONNECT_TIMEOUT, ENTRIES_MAX};
use crate::url::EtcdOptions;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cloud::KeptClient;
use reqwest::{Client, StatusCode};
use rollout::{Cas, Entry, Ledger, LedgerError, Token};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A handle of an etcd cluster; a clone is another one.
#[derive(Clone, Debug)]
pub struct Etcd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: EtcdOptions,
    client: KeptClient,
    /// What etcd gave for the password; it ages.
    pass: Mutex<Option<String>>,
    /// The endpoint that answered last.
    preferred: Mutex<usize>,
}

/// What one call to the cluster came to.
enum Called {
    Answered(Value),
    /// It was surely not carried out.
    Refused(LedgerError),
    /// Nobody knows.
    Unknown(String),
}

/// Why nothing stands for the password.
enum NoPass {
    /// Nobody was there who could tell.
    Nobody(String),
    /// The password is not to be had, or is not the user's.
    Refused(String),
}

/// A key and its value, as etcd writes it.
#[derive(Debug, Deserialize)]
struct Kv {
    key: String,
    #[serde(default)]
    value: String,
    mod_revision: String,
}

impl Etcd {
    /// The engine of a cluster. Asks nobody yet.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn new(options: &EtcdOptions) -> Result<Self, LedgerError> {
        let (options, client) = (options.clone(), KeptClient::default());
        client.get(|| self::client(&options))?;
        let (pass, preferred) = (Mutex::new(None), Mutex::new(0));
        Ok(Self(Arc::new(Inner { options, client, pass, preferred })))
    }

    fn name(&self) -> String {
        format!("etcd {}", self.0.options.endpoints.join(","))
    }

    fn failed(&self, step: &str, reason: impl ToString, cure: &str) -> LedgerError {
        LedgerError {
            step: format!("{step} {}", self.name()),
            reason: reason.to_string(),
            cure: cure.to_owned(),
        }
    }

    fn encoded(&self, key: &str) -> String {
        BASE64_STANDARD.encode(format!("{}/{key}", self.0.options.prefix))
    }

    /// Asks one endpoint after the other, as long as none can have heard.
    async fn call(&self, step: &str, path: &str, body: &Value) -> Called {
        let count = self.0.options.endpoints.len();
        let first = *self.0.preferred.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = String::new();
        for number in 0..count {
            let index = (first + number) % count;
            match self.call_one(&self.0.options.endpoints[index], step, path, body).await {
                Ok(called) => {
                    // One that gives no answer may be a dead one: the next call goes elsewhere.
                    let step = usize::from(matches!(called, Called::Unknown(_)));
                    let mut preferred =
                        self.0.preferred.lock().unwrap_or_else(PoisonError::into_inner);
                    *preferred = (index + step) % count;
                    return called;
                }
                Err(reason) => last = format!("{}: {reason}", self.0.options.endpoints[index]),
            }
        }
        let cure = "see that etcd runs and that this host may reach it";
        Called::Refused(self.failed(step, last, cure))
    }

    /// The outer error: nobody was there.
    async fn call_one(
        &self,
        endpoint: &str,
        step: &str,
        path: &str,
        body: &Value,
    ) -> Result<Called, String> {
        let client = match self.0.client.get(|| client(&self.0.options)) {
            Ok(client) => client,
            Err(error) => return Ok(Called::Refused(error)),
        };
        // A pass that has aged is renewed once.
        for is_second in [false, true] {
            let pass = match self.pass(&client, endpoint, is_second).await {
                Ok(pass) => pass,
                // It was not asked for anything yet: another member may know the user.
                Err(NoPass::Nobody(reason)) => return Err(reason),
                Err(NoPass::Refused(reason)) => {
                    let cure = "see the user, its password file and its role in etcd";
                    return Ok(Called::Refused(self.failed(step, reason, cure)));
                }
            };
            let answer = self.post(&client, endpoint, path, body, pass.as_deref()).await;
            let (status, text) = match answer {
                Ok(answer) => answer,
                Err(error) if error.is_connect() => return Err(chain(&error)),
                Err(error) => {
                    // Of a port that speaks TLS, too: it hangs up on plain text.
                    let is_cut = chain(&error).contains("closed before message completed");
                    let is_plain = is_cut && endpoint.starts_with("http:");
                    let hint = if is_plain { " (if it speaks TLS: etcds://)" } else { "" };
                    let reason = format!("{endpoint}: {}{hint}", chain(&error));
                    return Ok(Called::Unknown(reason));
                }
            };
            if status == StatusCode::OK {
                return Ok(match serde_json::from_str(&text) {
                    Ok(value) => Called::Answered(value),
                    Err(error) => Called::Unknown(format!("{endpoint} answers no JSON: {error}")),
                });
            }
            let reason = format!("{endpoint} answers {status}: {}", message(&text));
            if status == StatusCode::UNAUTHORIZED && self.0.options.user.is_some() && !is_second {
                continue;
            }
            let refused = status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT;
            if refused {
                return Ok(Called::Refused(self.failed(step, reason, cure_of(&text))));
            }
            // No leader, a leader that changed, a request that took too long: it may be in the log.
            return Ok(Called::Unknown(reason));
        }
        Ok(Called::Unknown("no pass".to_owned()))
    }

    /// An error: there was no answer. The next call is made by another client.
    async fn post(
        &self,
        client: &Client,
        endpoint: &str,
        path: &str,
        body: &Value,
        pass: Option<&str>,
    ) -> reqwest::Result<(StatusCode, String)> {
        let mut request = client.post(format!("{endpoint}{path}")).body(body.to_string());
        if let Some(pass) = pass {
            request = request.header("Authorization", pass);
        }
        let mut answer = request.send().await.inspect_err(|_| self.0.client.forget())?;
        let status = answer.status();
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            if text.len() + piece.len() > ANSWER_BYTES_MAX {
                break;
            }
            text.extend_from_slice(&piece);
        }
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// What stands for the password; none where no user is named.
    async fn pass(
        &self,
        client: &Client,
        endpoint: &str,
        anew: bool,
    ) -> Result<Option<String>, NoPass> {
        let Some((user, file)) = &self.0.options.user else { return Ok(None) };
        let known = self.0.pass.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && !anew {
            return Ok(known);
        }
        let password = std::fs::read_to_string(file)
            .map_err(|error| NoPass::Refused(format!("read {}: {error}", file.display())))?;
        let body = json!({ "name": user, "password": password.trim_end_matches('\n') });
        let answer = self.post(client, endpoint, "/v3/auth/authenticate", &body, None).await;
        let (status, text) = answer.map_err(|error| NoPass::Nobody(chain(&error)))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let Some(pass) = answer["token"].as_str() else {
            let reason = format!("user {user}: {endpoint} answers {status}: {}", message(&text));
            // A member without a leader says so with a status of a server.
            let is_away = status.is_server_error();
            return Err(if is_away { NoPass::Nobody(reason) } else { NoPass::Refused(reason) });
        };
        *self.0.pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(pass.to_owned());
        Ok(Some(pass.to_owned()))
    }

    /// Whether it answers, to this user.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn probe(&self) -> Result<String, LedgerError> {
        // Beside all keys of ours, and within the same rights.
        let body = json!({ "key": self.encoded("~probe") });
        self.range("probe", &body).await?;
        Ok(format!("{} answers with a quorum", self.name()))
    }

    /// A transaction whose condition holds, or does not.
    async fn transaction(&self, step: &str, body: &Value) -> Result<Cas, LedgerError> {
        match self.call(step, "/v3/kv/txn", body).await {
            Called::Refused(error) => Err(error),
            Called::Unknown(reason) => Ok(Cas::Unknown(reason)),
            Called::Answered(answer) if answer["succeeded"] == true => {
                match answer["header"]["revision"].as_str() {
                    Some(revision) => Ok(Cas::Applied(Token(revision.to_owned()))),
                    None => Ok(Cas::Unknown("etcd answers without a revision".to_owned())),
                }
            }
            // `false` is left out; any other answer to a transaction has a header.
            Called::Answered(answer) if answer["header"].is_object() => Ok(Cas::Lost),
            Called::Answered(answer) => Ok(Cas::Unknown(format!("a strange answer: {answer}"))),
        }
    }

    async fn range(&self, step: &str, body: &Value) -> Result<Vec<(String, Entry)>, LedgerError> {
        let cure = "ask again";
        let answer = match self.call(step, "/v3/kv/range", body).await {
            Called::Answered(answer) => answer,
            Called::Refused(error) => return Err(error),
            Called::Unknown(reason) => return Err(self.failed(step, reason, cure)),
        };
        let Some(kvs) = answer.get("kvs") else { return Ok(Vec::new()) };
        let strange = |reason: &dyn ToString| {
            self.failed(step, format!("a strange answer: {}", reason.to_string()), cure)
        };
        let kvs: Vec<Kv> = serde_json::from_value(kvs.clone()).map_err(|error| strange(&error))?;
        let prefix = format!("{}/", self.0.options.prefix);
        kvs.into_iter()
            .map(|kv| {
                let bytes = |text: &str| BASE64_STANDARD.decode(text);
                let key = bytes(&kv.key).map_err(|error| strange(&error))?;
                let key = String::from_utf8(key).map_err(|error| strange(&error))?;
                let key = key.strip_prefix(&prefix).ok_or_else(|| strange(&"another's key"))?;
                let value = bytes(&kv.value).map_err(|error| strange(&error))?;
                Ok((key.to_owned(), Entry { value, token: Token(kv.mod_revision) }))
            })
            .collect()
    }
}

impl Ledger for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        key::check(&self.name(), key)?;
        let body = json!({ "key": self.encoded(key) });
        let found = self.range(&format!("read {key} from"), &body).await?;
        Ok(found.into_iter().next().map(|(_, entry)| entry))
    }

    async fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        key::check_value(&self.name(), key, value)?;
        let name = self.encoded(key);
        let compare = match expected {
            Some(token) => json!({ "key": name, "target": "MOD", "mod_revision": token.0 }),
            None => json!({ "key": name, "target": "CREATE", "create_revision": "0" }),
        };
        let put = json!({ "key": name, "value": BASE64_STANDARD.encode(value) });
        let body = json!({ "compare": [compare], "success": [{ "request_put": put }] });
        self.transaction(&format!("write {key} to"), &body).await
    }

    async fn remove(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        let name = self.encoded(key);
        let body = json!({
            "compare": [{ "key": name, "target": "MOD", "mod_revision": expected.0 }],
            "success": [{ "request_delete_range": { "key": name } }],
        });
        let removed = self.transaction(&format!("remove {key} from"), &body).await?;
        Ok(if let Cas::Applied(_) = removed { Cas::Applied(expected.clone()) } else { removed })
    }

    async fn list(&self, folder: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        key::check_folder(&self.name(), folder)?;
        // All that begins with `folder/`: up to `folder0`, `0` being the byte after `/`.
        let end = format!("{}/{}0", self.0.options.prefix, folder.trim_end_matches('/'));
        let body = json!({
            "key": self.encoded(folder),
            "range_end": BASE64_STANDARD.encode(end),
            "limit": (ENTRIES_MAX + 1).to_string(),
        });
        let step = format!("list {folder} of");
        let found = self.range(&step, &body).await?;
        if found.len() > ENTRIES_MAX {
            let reason = format!("more than {ENTRIES_MAX} entries");
            return Err(self.failed(&step, reason, "remove those of hosts that are gone"));
        }
        Ok(found)
    }
}

fn client(options: &EtcdOptions) -> Result<Client, LedgerError> {
    // The first to say it wins; another in this process says the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |object: &str, reason: String| LedgerError {
        step: format!("read {object}"),
        reason,
        cure: "give a PEM file that this user may read".to_owned(),
    };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| failed(&path.display().to_string(), error.to_string()))
    };
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let encrypted = options.endpoints.iter().any(|endpoint| endpoint.starts_with("https:"));
    let roots = match (&options.ca, encrypted) {
        (Some(path), _) => reqwest::Certificate::from_pem_bundle(&read(path)?)
            .map_err(|error| failed(&path.display().to_string(), chain(&error)))?,
        (None, true) => system_roots(),
        (None, false) => Vec::new(),
    };
    builder = builder.tls_certs_only(roots);
    if let Some((certificate, key)) = &options.identity {
        let pem = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|error| failed(&certificate.display().to_string(), chain(&error)))?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| failed("the certificates", chain(&error)))
}

fn system_roots() -> Vec<reqwest::Certificate> {
    let found = rustls_native_certs::load_native_certs();
    let der = found.certs.iter();
    der.filter_map(|der| reqwest::Certificate::from_der(der.as_ref()).ok()).collect()
}

/// What to do about a refusal.
fn cure_of(text: &str) -> &'static str {
    if text.contains("HTTPS server") {
        "it speaks TLS: write etcds:// and ca=FILE"
    } else if text.contains("user name is empty") {
        "it wants a user: write ?user=NAME&password-file=FILE"
    } else {
        "see the user's role in etcd, and that etcd is 3.4 or newer"
    }
}

/// What etcd says in an error's body, without what surrounds it.
fn message(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let said = value["error"].as_str().or_else(|| value["message"].as_str()).unwrap_or(text);
    said.chars().take(200).collect()
}

/// An error and its causes: reqwest's own text names the address only.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
