//! Items on the wire.

use super::*;

fn item(text: &str) -> Result<Item> {
    let wire = serde_json::from_str(text).expect("JSON");
    from_wire("dynamodb:GetItem", "ledger", wire)
}

#[test]
fn items_go_there_and_back() {
    let all = Item::from([
        ("key".to_owned(), Attribute::Text("groups/prod".to_owned())),
        ("value".to_owned(), Attribute::Bytes(vec![0, 10, 255])),
        ("empty".to_owned(), Attribute::Bytes(Vec::new())),
    ]);
    let text = serde_json::to_string(&to_wire(&all)).expect("JSON");
    assert!(text.contains(r#""value":{"B":"AAr/"}"#), "{text}");
    assert_eq!(item(&text).expect("an item"), all);
    assert_eq!(object("ledger", &all), "ledger groups/prod");
}

/// What people add to an item by hand is no reason to fail.
#[test]
fn other_types_are_left_out() {
    let read = item(r#"{"key":{"S":"a"},"ttl":{"N":"17"},"tags":{"SS":["x"]}}"#);
    assert_eq!(read.expect("an item").into_keys().collect::<Vec<_>>(), ["key"]);
    let error = item(r#"{"value":{"B":"%%"}}"#).expect_err("no base64").to_string();
    assert!(error.contains("the attribute value is no base64"), "{error}");
}
