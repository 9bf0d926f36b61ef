//! The HTTP clients, and one exchange with a cap on its answer.

use crate::error::reason;
use crate::limits;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What time the other side says that it is.
    pub fn date(&self) -> Option<SystemTime> {
        use aws_smithy_types::date_time::Format;
        let date = crate::time::parse(self.header("date")?, Format::HttpDate);
        date.ok()
    }
}

/// An exchange without an answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// There was no connection: it was not even asked.
    Unsent(String),
    /// No answer, or half of one.
    Transport(String),
    /// More than that many bytes.
    TooLarge(usize),
}

/// Sends, and reads the answer up to `limit` bytes.
pub(crate) async fn exchange(request: RequestBuilder, limit: usize) -> Result<Answer, Broken> {
    let transport = |error: reqwest::Error| {
        let text = reason(&error);
        if error.is_connect() { Broken::Unsent(text) } else { Broken::Transport(text) }
    };
    let mut response = request.send().await.map_err(transport)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(transport)? {
        if body.len() + piece.len() > limit {
            return Err(Broken::TooLarge(limit));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer { status, headers, body })
}

/// The client of the metadata service: plain, and never through a proxy, which would make the
/// service that of another machine.
pub(crate) fn metadata_client() -> reqwest::Result<Client> {
    builder()
        .tls_certs_only([])
        .no_proxy()
        .connect_timeout(limits::METADATA_CONNECT_TIMEOUT)
        .timeout(limits::METADATA_TIMEOUT)
        .build()
}

fn builder() -> reqwest::ClientBuilder {
    // reqwest wants one even for plain HTTP. Who installed one already said the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("rollinit/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
}

/// Through which proxy AWS is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Through this one.
    Through {
        /// `http://HOST:PORT`.
        url: String,
        /// Hosts that are asked directly, as in `NO_PROXY`; may be empty.
        except: String,
    },
}

/// A client that is made at its first use and kept until it is forgotten, which whoever got no
/// answer by it does: a client reads resolv.conf and its certificates once, and other ones may be
/// right by now.
#[derive(Debug, Default)]
pub struct KeptClient(Mutex<Option<Client>>);

impl KeptClient {
    /// The client, which `make` makes if there is none.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(&self, make: impl FnOnce() -> Result<Client, E>) -> Result<Client, E> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*held {
            return Ok(client.clone());
        }
        let client = make()?;
        *held = Some(client.clone());
        Ok(client)
    }

    /// The next one is made anew.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The client for AWS.
#[derive(Debug)]
pub(crate) struct AwsClient {
    proxy: Proxy,
    client: KeptClient,
}

impl AwsClient {
    pub fn new(proxy: Proxy) -> Self {
        Self { proxy, client: KeptClient::default() }
    }

    /// The client.
    ///
    /// # Errors
    /// What is missing: root certificates, or a proxy's address.
    pub fn get(&self) -> Result<Client, String> {
        self.client.get(|| self.make())
    }

    /// The next one is made anew.
    pub fn forget(&self) {
        self.client.forget();
    }

    fn make(&self) -> Result<Client, String> {
        let found = rustls_native_certs::load_native_certs();
        let roots: Vec<_> = found
            .certs
            .iter()
            .filter_map(|der| reqwest::Certificate::from_der(der.as_ref()).ok())
            .collect();
        // Without roots a plain endpoint still works; an encrypted one says what it misses.
        let mut builder = builder()
            .tls_certs_only(roots)
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .read_timeout(limits::READ_TIMEOUT);
        if let Proxy::Through { url, except } = &self.proxy {
            let proxy = reqwest::Proxy::all(url)
                .map_err(|error| format!("the proxy {url:?} is no address: {}", reason(&error)))?;
            builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(except)));
        }
        builder.build().map_err(|error| format!("no HTTP client: {}", reason(&error)))
    }
}

/// Whether any root certificate is known, for the text of an error.
pub(crate) fn has_roots() -> bool {
    !rustls_native_certs::load_native_certs().certs.is_empty()
}
