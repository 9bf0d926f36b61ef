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
