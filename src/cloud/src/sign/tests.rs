//! AWS's own vectors: its suite for signature version 4, and the example of S3's reference.

use super::*;
use std::time::{Duration, UNIX_EPOCH};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// 2015-08-30T12:36:00Z, of the whole suite.
const SUITE_S: u64 = 1_440_938_160;

fn signature(headers: &[(String, String)]) -> &str {
    let (_, value) = headers.iter().find(|(name, _)| name == "authorization").expect("signed");
    value.rsplit("Signature=").next().expect("a signature")
}

fn of_suite(method: &str, path: &str, headers: &[(&str, &str)], token: Option<&str>) -> String {
    let token = token.map(str::to_owned);
    let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token, None, "test");
    let url = format!("https://example.amazonaws.com{path}");
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let request = Unsigned { method, url: &url, headers: &headers, body: b"" };
    let time = UNIX_EPOCH + Duration::from_secs(SUITE_S);
    let scope = Scope { region: "us-east-1", service: "service", time };
    signature(&sign(&request, &credentials, scope).expect("signed")).to_owned()
}

/// Names of the cases are those of AWS's suite (`aws-signing-test-suite/v4`).
#[test]
fn the_suite_of_aws_is_signed_as_it_says() {
    const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    for (name, method, path, headers, token, expected) in [
        (
            "get-vanilla",
            "GET",
            "/",
            &[][..],
            None,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            None,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-vanilla-utf8-query",
            "GET",
            "/?%E1%88%B4=bar",
            &[],
            None,
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
        (
            "get-unreserved",
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            &[],
            None,
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            "post-vanilla-query",
            "POST",
            "/?Param1=value1",
            &[],
            None,
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "post-header-key-sort",
            "POST",
            "/",
            &[("My-Header1", "value1")],
            None,
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "get-vanilla-with-session-token",
            "GET",
            "/",
            &[],
            Some(TOKEN),
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        ),
    ] {
        assert_eq!(of_suite(method, path, headers, token), expected, "{name}");
    }
}

/// "Example: GET Object" of S3's API reference, "Signature Calculations for the Authorization
/// Header": S3 also signs the hash of the body as a header.
#[test]
fn an_object_is_asked_for_as_the_reference_of_s3_says() {
    // A slash where the suite's secret has a plus.
    let secret = SECRET.replace('+', "/");
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, None, "test");
    let headers = [("range".to_owned(), "bytes=0-9".to_owned())];
    let url = "https://examplebucket.s3.amazonaws.com/test.txt";
    let request = Unsigned { method: "GET", url, headers: &headers, body: b"" };
    let time = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
    let scope = Scope { region: "us-east-1", service: "s3", time };
    let signed = sign(&request, &credentials, scope).expect("signed");
    let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    assert_eq!(signature(&signed), expected);
}
