//! Connections: accepted, counted, answered on, given up.

use crate::answer::{Answer, Question};
use crate::stream::{Pace, stream};
use crate::{Handler, Limits};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Until a connection is accepted again after the system refused one: it has no descriptors left,
/// and some will be free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Bytes of a request's head at most: our clients send some hundred.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Fields of a request's head at most.
const FIELDS_MAX: usize = 64;

type Body = BoxBody<Bytes, io::Error>;

/// What all connections of a server share.
struct Shared {
    limits: Limits,
    streams: Arc<Semaphore>,
    pace: Arc<Pace>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place in the count; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

/// When something last moved on a connection.
struct Pulse {
    began: Instant,
    last_ms: AtomicU64,
}

/// Serves on `listener` until dropped; its connections end with it. `complain` is told why the
/// system gives no connection, once until it gives one again.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    handler: impl Handler,
    complain: impl Fn(&io::Error),
) -> Infallible {
    let shared = Arc::new(Shared {
        limits,
        streams: Arc::new(Semaphore::new(limits.streams_max)),
        pace: Arc::new(Pace::new(limits.stream_bytes_per_second)),
        open: Mutex::default(),
    });
    let mut connections = JoinSet::new();
    let mut is_said = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                is_said = false;
                let Some(place) = Place::take(&shared, from.ip()) else { continue };
                connections.spawn(connection(stream, from, place, handler.clone()));
            }
            Err(error) => {
                if !std::mem::replace(&mut is_said, true) {
                    complain(&error);
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut open = shared.open();
        let all: usize = open.values().sum();
        let own = open.get(&address).copied().unwrap_or(0);
        let limits = &shared.limits;
        if all >= limits.connections_max || own >= limits.connections_per_address_max {
            return None;
        }
        open.insert(address, own + 1);
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl Pulse {
    fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last_ms: AtomicU64::new(0) })
    }

    fn beat(&self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for so long.
    async fn stops(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let due = self.began + last + idle;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, place: Place, handler: impl Handler) {
    // Without it an answer is only slower.
    let _ = stream.set_nodelay(true);
    let (pulse, shared) = (Pulse::new(), Arc::clone(&place.shared));
    let idle = shared.limits.idle;
    let service = service_fn(|request: Request<Incoming>| {
        pulse.beat();
        let (pulse, shared, handler) = (Arc::clone(&pulse), Arc::clone(&shared), handler.clone());
        async move { Ok::<_, Infallible>(respond(request, from, &shared, pulse, handler).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // How it ended concerns nobody but the client.
        _ = served => {}
        () = pulse.stops(idle) => {}
    }
    drop(place);
}

async fn respond(
    request: Request<Incoming>,
    from: SocketAddr,
    shared: &Shared,
    pulse: Arc<Pulse>,
    handler: impl Handler,
) -> Response<Body> {
    let is_head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => return small(&Answer::text(405, "GET and HEAD only\n"), false),
    };
    let uri = request.uri();
    let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
    let skip = request.headers().get(header::RANGE).and_then(range);
    match handler.answer(Question { from, path, query }).await {
        Answer::Stream { kind, length, write } => {
            let skip = skip.filter(|skip| *skip <= length);
            let left = length - skip.unwrap_or(0);
            let body = if is_head {
                empty()
            } else {
                let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
                    return small(&busy(), is_head);
                };
                let pace = Arc::clone(&shared.pace);
                let (mut writer, body) =
                    stream(skip.unwrap_or(0), left, pace, permit, move || pulse.beat());
                tokio::task::spawn_blocking(move || {
                    let written = write(&mut writer);
                    writer.end(written);
                });
                BodyExt::boxed(body)
            };
            let mut response = head(kind, body);
            set(&mut response, header::CONTENT_LENGTH, &left.to_string());
            set(&mut response, header::ACCEPT_RANGES, "bytes");
            if let Some(skip) = skip {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let last = length.saturating_sub(1);
                set(&mut response, header::CONTENT_RANGE, &format!("bytes {skip}-{last}/{length}"));
            }
            response
        }
        text => small(&text, is_head),
    }
}

fn busy() -> Answer {
    let text = "as many streams as this host gives at once are open\n".to_owned();
    let fields = vec![("retry-after", "1".to_owned())];
    Answer::Text { status: 503, kind: "text/plain; charset=utf-8", fields, text }
}

fn small(answer: &Answer, is_head: bool) -> Response<Body> {
    let Answer::Text { status, kind, fields, text } = answer else { return head("", empty()) };
    let body = if is_head { empty() } else { full(text) };
    let mut response = head(kind, body);
    *response.status_mut() =
        StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_LENGTH, &text.len().to_string());
    for (name, value) in fields {
        if let Ok(name) = header::HeaderName::try_from(*name) {
            set(&mut response, name, value);
        }
    }
    response
}

fn head(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, kind);
    response
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn full(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed()
}

/// `bytes=N-`: the one form that a download that goes on needs. Others get the whole (RFC 9110).
fn range(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
