//! Addresses of objects.

use super::*;

#[test]
fn addresses_are_read() {
    let address = ObjectAddress::parse("s3://rel.example/web/now.toml?region=eu-west-1");
    let address = address.expect("an address");
    assert_eq!((address.bucket.as_str(), address.key.as_str()), ("rel.example", "web/now.toml"));
    assert_eq!(address.region.as_deref(), Some("eu-west-1"));
    assert_eq!(address.to_string(), "s3://rel.example/web/now.toml");
    for wrong in ["", "s3://", "s3://b", "s3://b/", "s3:///k", "https://b/k", "s3://b c/k"] {
        let error = ObjectAddress::parse(wrong).expect_err(wrong);
        assert!(error.contains("write s3://BUCKET/KEY"), "{error}");
    }
    for wrong in ["s3://b/k?x=y", "s3://b/k?region=", "s3://b/k?region=a.b"] {
        ObjectAddress::parse(wrong).expect_err(wrong);
    }
}

#[test]
fn a_listing_is_read() {
    let page = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name>\
        <IsTruncated>true</IsTruncated><NextContinuationToken>a+b</NextContinuationToken>\
        <Contents><Key>p/a</Key><ETag>&quot;1&quot;</ETag><Size>3</Size></Contents>\
        <Contents><Key>p/b</Key><ETag>&quot;2&quot;</ETag></Contents></ListBucketResult>";
    let page = list::read(page.as_bytes()).expect("a page");
    let listed = |key: &str, etag: &str| Listed { key: key.into(), etag: etag.into() };
    assert_eq!(page.contents, [listed("p/a", "\"1\""), listed("p/b", "\"2\"")]);
    assert_eq!(page.next_continuation_token.as_deref(), Some("a+b"));
    let empty = list::read(b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>");
    assert_eq!(empty.expect("a page").contents, []);
    assert!(list::read(b"{}").is_err() && list::read(b"\xff").is_err());
}
