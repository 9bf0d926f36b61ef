//! The caches to fetch from, the keys to trust, and the patience to have with them.

use crate::error::{Error, Fault, Result, Step};
use crate::fetch::peers::Peers;
use crate::signature::TrustedKeys;
use reqwest::{Client, Response, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Caches at most: each is asked for each path that the ones before it do not have.
pub const CACHES_MAX: usize = 16;

/// Redirects followed at most: an object store's front door makes one or two.
const REDIRECTS_MAX: usize = 5;

/// How long a connection may take to come up; caches of the same region take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause before a try is repeated; each next one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause: a cache that is back is noticed within it.
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// How a fetch behaves. All have defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Narinfos asked for at once. They are small: what counts is the round trip.
    pub parallel_narinfos: usize,
    /// NARs fetched at once, if memory admits them.
    pub parallel_nars: usize,
    /// A connection that gives nothing for so long is given up and made anew.
    pub stall_timeout: Duration,
    /// A cache that gives nothing for so long, over all tries, ends the fetch.
    pub give_up_after: Duration,
    /// The largest zstd window, or dictionary of xz, that is admitted, in bytes. 8 MiB is that of
    /// `zstd -19` and of xz as Nix calls it.
    pub window_bytes_max: u64,
    /// What all open decompressors may take together, in bytes.
    pub memory_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel_narinfos: 32,
            parallel_nars: 16,
            stall_timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(300),
            window_bytes_max: 8 << 20,
            memory_bytes_max: 24 << 20,
        }
    }
}

/// The binary caches of a host, in order, with the keys that it trusts, and the peers that are
/// asked before them. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Caches(Arc<Inner>, Option<Peers>);

#[derive(Debug)]
struct Inner {
    addresses: Vec<String>,
    keys: TrustedKeys,
    options: Options,
    client: Client,
}

/// Why one request brought nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such object. Never remembered: a later upload works at once.
    Missing,
    /// The cache refuses, and will again.
    Status(u16),
    /// It answers, with a no that passes.
    Busy(String),
    /// It does not answer, or in vain; it may another time.
    Transient(String),
}

impl Caches {
    /// Reads addresses (`http://…`, `https://…`) and public keys (`NAME:BASE64`). Both may be none:
    /// what is in the store already needs neither.
    ///
    /// # Errors
    /// One of them is not what it should be; or a cache is HTTPS and no root certificate is known.
    pub fn new(addresses: &[String], keys: &[String], options: Options) -> Result<Self> {
        let refused = |object: &str, fault| Error::new(Step::Configure, object, fault);
        let keys = TrustedKeys::parse(keys.iter().map(String::as_str))
            .map_err(|error| refused("keys", Fault::Key(error.to_string())))?;
        if addresses.len() > CACHES_MAX {
            let fault = Fault::Address(format!("more than {CACHES_MAX} caches"));
            return Err(refused("caches", fault));
        }
        let addresses: Vec<String> = addresses
            .iter()
            .map(|text| address(text).map_err(|fault| refused(text, fault)))
            .collect::<Result<_>>()?;
        let encrypted = addresses.iter().any(|address| address.starts_with("https:"));
        let certificates = if encrypted { certificates()? } else { Vec::new() };
        let client = client(&options, certificates)
            .map_err(|error| refused("the HTTP client", Fault::Address(reason(&error))))?;
        Ok(Self(Arc::new(Inner { addresses, keys, options, client }), None))
    }

    /// The same, with peers that are asked first.
    #[must_use]
    pub fn with_peers(self, peers: Peers) -> Self {
        Self(self.0, Some(peers))
    }

    /// The peers, if any are asked.
    #[must_use]
    pub fn peers(&self) -> Option<&Peers> {
        self.1.as_ref()
    }

    /// The addresses, in order, without a slash at the end.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.0.addresses
    }

    /// The trusted keys.
    #[must_use]
    pub fn keys(&self) -> &TrustedKeys {
        &self.0.keys
    }

    /// How to fetch.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Asks for `url`, from byte `from` on. The answer may still begin at byte 0: see its status.
    pub(crate) async fn get(&self, url: &str, from: u64) -> std::result::Result<Response, Refusal> {
        get(&self.0.client, url, from).await
    }

    /// The whole of a small object: at most `limit` bytes and one more, by which one sees that it
    /// is larger.
    pub(crate) async fn get_small(
        &self,
        url: &str,
        limit: usize,
    ) -> std::result::Result<Vec<u8>, Refusal> {
        get_small(&self.0.client, url, limit).await
    }
}

/// As [`Caches::get`], with any client.
async fn get(client: &Client, url: &str, from: u64) -> std::result::Result<Response, Refusal> {
    let mut request = client.get(url);
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    let response = request.send().await.map_err(|error| transient(&error))?;
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Refusal::Missing),
        status if is_passing(status) => Err(Refusal::Busy(format!("the cache answers {status}"))),
        status => Err(Refusal::Status(status.as_u16())),
    }
}

/// As [`Caches::get_small`], with any client.
pub(crate) async fn get_small(
    client: &Client,
    url: &str,
    limit: usize,
) -> std::result::Result<Vec<u8>, Refusal> {
    let mut response = get(client, url, 0).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| transient(&error))? {
        let room = (limit + 1).saturating_sub(bytes.len());
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if bytes.len() > limit {
            break;
        }
    }
    Ok(bytes)
}

pub(crate) fn transient(error: &reqwest::Error) -> Refusal {
    Refusal::Transient(reason(error))
}

/// Answers that pass: an overloaded or restarting cache, or the proxy before it.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// What an HTTP error comes down to: the innermost cause says more than the words around it.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.is_timeout() { format!("timed out ({innermost})") } else { innermost.to_string() }
}

fn address(text: &str) -> std::result::Result<String, Fault> {
    let trimmed = text.trim_end_matches('/');
    let rest = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() => {
            let parsed = reqwest::Url::parse(trimmed);
            parsed.map_err(|error| Fault::Address(error.to_string()))?;
            Ok(trimmed.to_owned())
        }
        _ => Err(Fault::Address("only http:// and https:// are fetched from".to_owned())),
    }
}

/// A client that asks `url` for some other document as caches are asked for theirs.
///
/// # Errors
/// An encrypted one is asked for, and no root certificate is known; or no client can be made.
pub fn web_client(url: &str) -> Result<Client> {
    let certificates = if url.starts_with("https://") { certificates()? } else { Vec::new() };
    let made = client(&Options::default(), certificates);
    made.map_err(|error| Error::new(Step::Configure, url, Fault::Address(reason(&error))))
}

/// The root certificates of this host.
///
/// # Errors
/// None is known.
pub fn certificates() -> Result<Vec<reqwest::Certificate>> {
    let found = rustls_native_certs::load_native_certs();
    let certificates: Vec<_> = found
        .certs
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der.as_ref()).ok())
        .collect();
    if certificates.is_empty() {
        let why = found.errors.first().map_or_else(|| "none".to_owned(), ToString::to_string);
        return Err(Error::new(Step::Configure, "https caches", Fault::Certificates(why)));
    }
    Ok(certificates)
}

fn client(options: &Options, certificates: Vec<reqwest::Certificate>) -> reqwest::Result<Client> {
    // The first to say it wins; another in this process says the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("rollinit/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only(certificates)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(options.stall_timeout)
        .pool_max_idle_per_host(options.parallel_narinfos.max(options.parallel_nars))
        .no_proxy()
        .build()
}

/// How long one task goes on asking a cache that gives nothing.
#[derive(Debug)]
pub(crate) struct Patience {
    give_up_after: Duration,
    last_gain: Instant,
    tries: u32,
    /// Spreads the tries of many tasks; any bytes that differ between them will do.
    spread: u32,
}

impl Patience {
    /// None at all: the first pause is one too many.
    pub(crate) fn none() -> Self {
        Self { give_up_after: Duration::ZERO, last_gain: Instant::now(), tries: 0, spread: 0 }
    }

    pub(crate) fn new(options: &Options, spread: &str) -> Self {
        let spread = spread.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        Self { give_up_after: options.give_up_after, last_gain: Instant::now(), tries: 0, spread }
    }

    /// Something arrived.
    pub(crate) fn gain(&mut self) {
        self.last_gain = Instant::now();
        self.tries = 0;
    }

    /// Pauses before the next try, or says that it was long enough.
    pub(crate) async fn pause(&mut self, last: String) -> std::result::Result<(), Fault> {
        self.tries += 1;
        let doubled = RETRY_FIRST.saturating_mul(1 << self.tries.min(10)) / 2;
        let spread = 75 + self.spread.wrapping_add(self.tries.wrapping_mul(17)) % 51;
        let pause = doubled.min(RETRY_LONGEST) * spread / 100;
        let waited = self.last_gain.elapsed();
        if waited + pause > self.give_up_after {
            let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            return Err(Fault::Unreachable { waited_ms, tries: self.tries, last });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches(address: &str) -> Result<Caches> {
        Caches::new(&[address.to_owned()], &[], Options::default())
    }

    #[test]
    fn addresses_are_http_and_lose_their_last_slash() {
        let caches = caches("http://10.0.0.1:8080/cache/").expect("an address");
        assert_eq!(caches.addresses(), ["http://10.0.0.1:8080/cache"]);
    }

    /// A client without any certificate must still be made: for http it needs none.
    #[test]
    fn https_needs_root_certificates_and_http_does_not() {
        caches("http://10.0.0.1").expect("no certificate is needed");
        if let Err(error) = caches("https://cache.example.org") {
            assert!(matches!(error.fault, Fault::Certificates(_)), "{error}");
        }
    }

    #[test]
    fn what_is_no_address_or_no_key_is_refused_with_its_cure() {
        for text in ["", "http://", "s3://bucket", "cache.example.org", "http://[::1"] {
            let error = caches(text).expect_err(text);
            assert!(matches!(error.fault, Fault::Address(_)), "{error}");
            assert!(error.to_string().contains("write http://HOST/PATH"), "{error}");
        }
        let error = Caches::new(&[], &["no-colon".to_owned()], Options::default());
        assert!(matches!(error.expect_err("no key").fault, Fault::Key(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_the_deadline_since_the_last_gain() {
        let options = Options { give_up_after: Duration::from_secs(20), ..Options::default() };
        let mut patience = Patience::new(&options, "x");
        let mut pauses = 0;
        let fault = loop {
            match patience.pause("refused".to_owned()).await {
                Ok(()) => pauses += 1,
                Err(fault) => break fault,
            }
            if pauses == 3 {
                patience.gain();
            }
        };
        assert!(matches!(fault, Fault::Unreachable { ref last, .. } if last == "refused"));
        assert!((9..14).contains(&pauses), "{pauses} pauses");
    }
}
