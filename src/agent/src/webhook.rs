//! Events, posted as JSON to where `[webhook]` says: one after the other, each until it is taken or
//! was tried for long enough.
//!
//! At least once: an answer that got lost has the event posted again, under the same id. They wait
//! in memory; those that wait when the agent ends are lost. Addresses and tokens are secrets: none
//! is said, logged, or told to another address than the one that is configured.

use crate::app::Tools;
use crate::causes::innermost;
use crate::config::webhook::{To, Webhook, check};
use crate::disk;
use crate::events::{Events, WEBHOOK, Waiting};
use control::agent::Level;
use reqwest::{Client, StatusCode, header};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause before another try; each next one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// An event that could not be told for so long is given up: those behind it are news.
const AGE_MAX: Duration = Duration::from_secs(15 * 60);

/// Bytes of a file with an address or a token, at most.
const SECRET_BYTES_MAX: usize = 4 * 1024;

/// Why an event was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// It will not be, however often it is tried.
    Final(String),
    /// It may be another time.
    Passing(String),
}

/// For the life of the agent.
pub async fn run(tools: Rc<Tools>, settings: Webhook) {
    let mut client = None;
    loop {
        let event = tools.events.next().await;
        match deliver(&settings, &mut client, &event).await {
            Ok(()) => {
                tools.events.metrics().event("sent");
                // It is taken again. What was lost is in the metrics, and a gap in the names.
                tools.standing.clear(WEBHOOK);
            }
            Err(why) => {
                tools.events.drop_one();
                tell(&tools, &tools.events, &why);
            }
        }
    }
}

fn tell(tools: &Tools, events: &Events, why: &str) {
    let count = events.dropped();
    let text = format!("{count} events were not delivered since the agent began; the last: {why}");
    let cure = "see who takes them, and [webhook] in agent.toml";
    tools.standing.set(&tools.console, WEBHOOK, Level::Warning, &text, Some(cure));
}

/// Posts one event until it is taken.
async fn deliver(
    settings: &Webhook,
    client: &mut Option<(bool, Client)>,
    event: &Waiting,
) -> Result<(), String> {
    let mut pause = RETRY_FIRST;
    loop {
        let why = match post(settings, client, &event.text).await {
            Ok(()) => return Ok(()),
            Err(Refusal::Final(why)) => return Err(why),
            Err(Refusal::Passing(why)) => why,
        };
        // It read resolv.conf and the certificates once, and others may be right by now.
        *client = None;
        if event.since.elapsed() + pause > AGE_MAX {
            return Err(why);
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

async fn post(
    settings: &Webhook,
    client: &mut Option<(bool, Client)>,
    text: &str,
) -> Result<(), Refusal> {
    let url = match &settings.to {
        To::Url(url) => url.clone(),
        To::File(file) => first_line(file).await?,
    };
    check(&url).map_err(|error| Refusal::Passing(format!("the address: {error}")))?;
    let client = client_for(client, url.starts_with("https:"))?;
    let mut request =
        client.post(url).header(header::CONTENT_TYPE, "application/json").body(text.to_owned());
    if let Some(file) = &settings.token_file {
        request = request.bearer_auth(first_line(file).await?);
    }
    let sent = request.send().await;
    // An error of the client's has the address in it, but for this.
    let passing = |error| Refusal::Passing(innermost(&error).to_string());
    let response = sent.map_err(|error| passing(error.without_url()))?;
    judge(response.status())
}

fn judge(status: StatusCode) -> Result<(), Refusal> {
    let said = format!("it answers {status}");
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Refusal::Passing(said)),
        // A token that is being changed is right in a moment.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Refusal::Passing(said)),
        status if status.is_server_error() => Err(Refusal::Passing(said)),
        _ => Err(Refusal::Final(said)),
    }
}

/// A client for this kind of address; root certificates are read for the encrypted one only.
fn client_for(kept: &mut Option<(bool, Client)>, is_encrypted: bool) -> Result<Client, Refusal> {
    if let Some((_, client)) = kept.as_ref().filter(|(kind, _)| *kind == is_encrypted) {
        return Ok(client.clone());
    }
    let certificates = match is_encrypted {
        true => store::fetch::caches::certificates(),
        false => Ok(Vec::new()),
    };
    let certificates = certificates.map_err(|error| Refusal::Passing(error.to_string()))?;
    // The first to say it wins; another in this process says the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!("rollinit/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only(certificates)
        // What is told here is not for somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
        .map_err(|error| Refusal::Passing(error.to_string()))?;
    *kept = Some((is_encrypted, client.clone()));
    Ok(client)
}

async fn first_line(file: &Path) -> Result<String, Refusal> {
    let owned = file.to_owned();
    let read = tokio::task::spawn_blocking(move || disk::read_capped(&owned, SECRET_BYTES_MAX));
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(Refusal::Passing(error.to_string())),
        Err(error) => return Err(Refusal::Passing(error.to_string())),
    };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match std::str::from_utf8(line).map(str::trim) {
        Ok(line) if !line.is_empty() && bytes.len() <= SECRET_BYTES_MAX => Ok(line.to_owned()),
        _ => Err(Refusal::Passing(format!("{}: its first line is no text", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use httpd::{Answer, Handler, Limits, Question};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    #[test]
    fn some_answers_are_final() {
        let passes = |code| match judge(StatusCode::from_u16(code).expect("a status")) {
            Err(Refusal::Passing(_)) => true,
            Err(Refusal::Final(_)) => false,
            Ok(()) => panic!("{code}"),
        };
        assert!([500, 503, 429, 408, 401, 403].into_iter().all(passes));
        assert!(![400, 404, 405, 302, 410].into_iter().any(passes));
        assert_eq!(judge(StatusCode::NO_CONTENT), Ok(()));
    }

    #[derive(Clone)]
    struct Nobody;

    impl Handler for Nobody {
        async fn answer(&self, _: Question) -> Answer {
            Answer::missing()
        }
    }

    /// Whatever goes wrong, neither the address nor the token is said.
    #[tokio::test]
    async fn secrets_are_not_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serving = tokio::spawn(httpd::serve(listener, Limits::default(), Nobody, |_| {}));
        let folder = tempfile::tempdir().expect("a folder");
        let (url_file, token_file) = (folder.path().join("url"), folder.path().join("token"));
        std::fs::write(&token_file, "tok-secret\n").expect("written");
        let settings =
            Webhook { to: To::File(url_file.clone()), token_file: Some(token_file.clone()) };
        let event = Waiting { text: "{}".to_owned(), since: Instant::now() };
        std::fs::write(&url_file, format!("http://127.0.0.1:{port}/hook-secret")).expect("written");
        let said = deliver(&settings, &mut None, &event).await.expect_err("POST is not taken");
        assert!(said.contains("405") && !said.contains("secret"), "{said}");
        serving.abort();
        let _ = serving.await;
        for url in ["http://127.0.0.1:1/hook-secret", "http://me:secret@a", "secret", ""] {
            std::fs::write(&url_file, url).expect("written");
            match post(&settings, &mut None, "{}").await {
                Err(Refusal::Passing(said)) => {
                    assert!(!said.contains("secret") && !said.is_empty(), "{said}");
                }
                other => panic!("{url}: {other:?}"),
            }
        }
    }
}
