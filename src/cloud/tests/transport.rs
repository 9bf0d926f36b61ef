//! What a call survives on its way: answers that pass, clocks that are wrong, keys that ended,
//! buckets elsewhere, a proxy in between.
//!
//! The other side is a script: an answer for each request, in order, and what was asked.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

use cloud::ec2::Filter;
use cloud::s3::{Found, ObjectAddress, Put, PutCondition};
use cloud::{Aws, Credentials, Endpoints, Fault, Imds, Options, Proxy, Source};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const EMPTY: &str = "<R><volumeSet/></R>";

/// Heads of requests, in lower case.
type Asked = Rc<RefCell<Vec<String>>>;

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn error(code: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>"
    )
}

/// Runs `call` against the script; its end has to be reached.
async fn against<T>(script: Vec<String>, call: impl AsyncFnOnce(String) -> T) -> (T, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let served = async {
        for answer in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..read]);
                assert!(read > 0, "a request that does not end");
            }
            let text = String::from_utf8_lossy(&request).to_lowercase();
            asked.borrow_mut().push(text);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let (result, ()) = tokio::join!(call(url), served);
    (result, asked.take())
}

/// Whether head and body are there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let found = request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name} in {request}"))
}

fn options(any: Option<String>) -> Options {
    let credentials = Credentials::new("AKIA", "secret", None, None, "test");
    Options {
        region: Some("eu-central-1".to_owned()),
        endpoints: Endpoints { any, ..Endpoints::default() },
        credentials: Source::Fixed(credentials),
        tries: Some(3),
        ..Options::default()
    }
}

fn aws(options: Options) -> Aws {
    Aws::new(options, Imds::new(cloud::imds::Options::default()).unwrap())
}

#[tokio::test]
async fn what_passes_is_asked_again_and_not_for_ever() {
    let script = vec![
        answer(503, "", ""),
        answer(400, "", &error("RequestLimitExceeded")),
        answer(200, "", EMPTY),
    ];
    let call = async |url| aws(options(Some(url))).ec2().volumes(&[]).await;
    let (found, asked) = against(script, call).await;
    assert!(found.unwrap().is_empty());
    assert_eq!(asked.len(), 3);

    let script = vec![answer(400, "", &error("RequestLimitExceeded")); 3];
    let (found, _) = against(script, call).await;
    let error_ = found.unwrap_err();
    assert!(matches!(&error_.fault, Fault::Refused { code, .. } if code == "RequestLimitExceeded"));

    let script = vec![answer(400, "", &error("InvalidParameterValue"))];
    let (found, asked) = against(script, call).await;
    assert!(found.is_err() && asked.len() == 1, "what does not pass is asked once");
}

/// What must not happen twice is not tried again once it may have been carried out; what AWS says
/// that it did not do is.
#[tokio::test]
async fn a_write_whose_end_is_unclear_is_not_repeated() {
    let address = ObjectAddress::parse("s3://fleet/record").unwrap();
    let call =
        async |url| aws(options(Some(url))).s3().put(&address, b"x", &PutCondition::Absent).await;
    let written = || answer(200, "ETag: \"1\"\r\n", "");
    let cut = || "HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n".to_owned();
    for (script, what) in [
        (vec![String::new()], "no answer"),
        (vec![cut()], "half an answer"),
        (vec![answer(500, "", &error("InternalError"))], "500"),
        (vec![answer(503, "", "")], "503 without a word"),
        (vec![answer(200, "", "")], "no ETag"),
    ] {
        let (ended, _) = against(script, call).await;
        let fault = ended.unwrap_err().fault;
        assert!(matches!(fault, Fault::Unclear(_)), "{what}: {fault}");
    }
    let script = [answer(503, "", &error("SlowDown")), answer(412, "", ""), written()];
    let (ended, asked) = against(script[..2].to_vec(), call).await;
    assert_eq!(ended.unwrap(), Put::Otherwise);
    assert_eq!(header(&asked[1], "if-none-match"), "*");
    // Keys that ended are S3's 400, which might as well be about the region.
    let expired = answer(400, "", &error("ExpiredToken"));
    let script = vec![expired.clone(), expired, script[2].clone()];
    let (ended, _) = against(script, call).await;
    assert_eq!(ended.unwrap(), Put::Written("\"1\"".to_owned()));
}

/// A host whose clock is years off still gets through: AWS tells the time.
#[tokio::test]
async fn a_wrong_clock_is_put_right_once() {
    let date = "Date: Sat, 21 Nov 2037 10:00:00 GMT\r\n";
    let script = vec![
        answer(403, date, &error("RequestExpired")),
        answer(200, "", EMPTY),
        answer(403, date, &error("RequestExpired")),
        answer(403, date, &error("RequestExpired")),
    ];
    let (_, asked) = against(script, async |url| {
        let aws = aws(options(Some(url)));
        aws.ec2().volumes(&[]).await.unwrap();
        let error = aws.ec2().volumes(&[]).await.unwrap_err();
        assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
    })
    .await;
    assert!(header(&asked[1], "x-amz-date").starts_with("20371121t"), "{}", asked[1]);
    assert!(header(&asked[2], "x-amz-date").starts_with("20371121t"), "it is remembered");
}

/// Another region has the bucket: it is asked there, with a signature for there, once.
#[tokio::test]
async fn a_bucket_elsewhere_is_found() {
    let elsewhere = "x-amz-bucket-region: us-west-2\r\n";
    let script = vec![answer(301, elsewhere, ""), answer(200, "ETag: \"1\"\r\n", "there")];
    let address = ObjectAddress::parse("s3://releases/web.toml").unwrap();
    let call = async |url| aws(options(Some(url))).s3().get(&address, 100, None).await;
    let (found, asked) = against(script, call).await;
    assert!(matches!(found.unwrap(), Found::Object(object) if object.bytes == b"there"));
    assert!(header(&asked[0], "authorization").contains("/eu-central-1/s3/"));
    assert!(header(&asked[1], "authorization").contains("/us-west-2/s3/"));
    let script = vec![answer(301, elsewhere, ""), answer(301, elsewhere, "")];
    let (found, _) = against(script, call).await;
    assert!(found.is_err(), "it is not sent round in circles");
}

/// The whole address goes to the proxy, and the signature is for AWS's own name.
#[tokio::test]
async fn a_proxy_is_gone_through() {
    let script = vec![answer(200, "", EMPTY)];
    let (found, asked) = against(script, async |url| {
        let own = Some("http://ec2.example.org".to_owned());
        let proxy = Proxy::Through { url, except: "other.example.org".to_owned() };
        let filters = [Filter::tag("data", "web & <all>")];
        aws(Options { proxy, ..options(own) }).ec2().volumes(&filters).await
    })
    .await;
    assert!(found.unwrap().is_empty());
    assert!(asked[0].starts_with("post http://ec2.example.org/ http/1.1"), "{}", asked[0]);
    assert_eq!(header(&asked[0], "host"), "ec2.example.org");
    assert!(asked[0].contains("filter.1.value.1=web%20%26%20%3call%3e"), "{}", asked[0]);
}

/// Page after page, each asked for by the name that the one before gave.
#[tokio::test]
async fn all_pages_are_read() {
    let page = |id: &str, next: &str| {
        let item =
            format!("<item><volumeId>{id}</volumeId><size>1</size><status>s</status></item>");
        answer(200, "", &format!("<R><volumeSet>{item}</volumeSet>{next}</R>"))
    };
    let script = vec![page("vol-1", "<nextToken>a+b</nextToken>"), page("vol-2", "<nextToken/>")];
    let (found, asked) =
        against(script, async |url| aws(options(Some(url))).ec2().volumes(&[]).await).await;
    let ids: Vec<String> = found.unwrap().into_iter().map(|volume| volume.volume_id).collect();
    assert_eq!(ids, ["vol-1", "vol-2"]);
    assert!(!asked[0].contains("nexttoken") && asked[1].contains("nexttoken=a%2bb"));

    let page = |key: &str, next: &str| {
        let item = format!("<Contents><Key>p/{key}</Key><ETag>1</ETag></Contents>");
        answer(200, "", &format!("<ListBucketResult>{item}{next}</ListBucketResult>"))
    };
    let next = "<NextContinuationToken>a+b/=</NextContinuationToken>";
    let script = vec![page("1", next), page("2", "")];
    let prefix = ObjectAddress::parse("s3://fleet/p/").unwrap();
    let call = async |url| aws(options(Some(url))).s3().list(&prefix, 2).await;
    let (found, asked) = against(script, call).await;
    let keys: Vec<String> = found.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["p/1", "p/2"]);
    assert!(asked[0].starts_with("get /fleet/?list-type=2&prefix=p%2f http/1.1"), "{}", asked[0]);
    let second = "get /fleet/?continuation-token=a%2bb%2f%3d&list-type=2&prefix=p%2f http/1.1";
    assert!(asked[1].starts_with(second), "{}", asked[1]);
}
