//! DynamoDB: items of a table, written under a condition and read as they are now.
//!
//! Format: the low-level API, JSON 1.0 (Amazon DynamoDB API Reference, version 2012-08-10). Binary
//! values are base64. All reads are strongly consistent.

use crate::aws::{Aws, Call};
use crate::endpoint::Service;
use crate::error::{Error, Fault, Result, excerpt};
use crate::limits;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The calls. [`Aws::dynamodb`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct DynamoDb<'a>(pub(crate) &'a Aws);

/// The value of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Attribute {
    /// Its text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }
}

/// An item: its attributes by name. Attributes of other types than [`Attribute`] has are left out.
pub type Item = BTreeMap<String, Attribute>;

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is no item with this key yet; it names an attribute of the key.
    Absent(&'a str),
    /// The item that is there has this text in this attribute.
    Equals(&'a str, &'a str),
}

/// Which items a query is for: all of one partition whose sort key begins with a text.
#[derive(Clone, Copy, Debug)]
pub struct Prefix<'a> {
    /// The partition key's attribute and its value.
    pub partition: (&'a str, &'a str),
    /// The sort key's attribute and what it begins with.
    pub sort: (&'a str, &'a str),
}

/// How a table's items are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `ACTIVE`, `CREATING`, …
    pub status: String,
    /// The key's attributes: the partition's, and the one that sorts, if there is one.
    pub key: Vec<String>,
}

/// A value on the wire: one field, named by its type.
#[derive(Serialize, Deserialize, Default)]
struct Wire {
    #[serde(rename = "S", default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(rename = "B", default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

type WireItem = BTreeMap<String, Wire>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Got {
    #[serde(default)]
    item: Option<WireItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    items: Vec<WireItem>,
    #[serde(default)]
    last_evaluated_key: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    table: DescribedTable,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedTable {
    table_status: String,
    key_schema: Vec<KeySchema>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeySchema {
    attribute_name: String,
    key_type: String,
}

/// What DynamoDB says of a write whose condition does not hold.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

impl DynamoDb<'_> {
    /// The item of a key, as it is now. Needs `dynamodb:GetItem`.
    ///
    /// # Errors
    /// The call failed; also if there is no such table.
    pub async fn get(&self, table: &str, key: &Item) -> Result<Option<Item>> {
        const NAME: &str = "dynamodb:GetItem";
        let body = json!({ "TableName": table, "Key": to_wire(key), "ConsistentRead": true });
        let object = object(table, key);
        let got: Got = self.ask(NAME, &object, &body, false).await?;
        got.item.map(|item| from_wire(NAME, &object, item)).transpose()
    }

    /// Writes an item in place of the one with its key, if `condition` holds; false: it does not,
    /// and nothing was written. Needs `dynamodb:PutItem`.
    ///
    /// # Errors
    /// The call failed. After [`Fault::Unclear`] the item may have been written.
    pub async fn put(&self, table: &str, item: &Item, condition: &Condition<'_>) -> Result<bool> {
        const NAME: &str = "dynamodb:PutItem";
        let mut body = json!({ "TableName": table, "Item": to_wire(item) });
        let (name, expression) = match condition {
            Condition::Absent(name) => (name, "attribute_not_exists(#a)"),
            Condition::Equals(name, value) => {
                body["ExpressionAttributeValues"] = json!({ ":v": { "S": value } });
                (name, "#a = :v")
            }
        };
        body["ConditionExpression"] = json!(expression);
        body["ExpressionAttributeNames"] = json!({ "#a": name });
        self.write(NAME, &object(table, item), &body).await
    }

    /// Removes the item of a key if it has this text in this attribute; false: it has not, or there
    /// is none, and nothing was removed. Needs `dynamodb:DeleteItem`.
    ///
    /// # Errors
    /// The call failed. After [`Fault::Unclear`] the item may be gone.
    pub async fn delete(&self, table: &str, key: &Item, equals: (&str, &str)) -> Result<bool> {
        let body = json!({
            "TableName": table,
            "Key": to_wire(key),
            "ConditionExpression": "#a = :v",
            "ExpressionAttributeNames": { "#a": equals.0 },
            "ExpressionAttributeValues": { ":v": { "S": equals.1 } },
        });
        self.write("dynamodb:DeleteItem", &object(table, key), &body).await
    }

    /// Asks for a write under a condition; false: the condition does not hold.
    async fn write(&self, name: &'static str, object: &str, body: &Value) -> Result<bool> {
        match self.ask::<Value>(name, object, body, true).await {
            Ok(_) => Ok(true),
            Err(Error { fault: Fault::Refused { code, .. }, .. }) if code == CONDITION_FAILED => {
                Ok(false)
            }
            // It was written, and the answer to that says nothing.
            Err(Error { fault: Fault::Answer(_), .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The items that `prefix` is for, at most `most`, in the order of their keys. Needs
    /// `dynamodb:Query`.
    ///
    /// # Errors
    /// A call failed, or there are more.
    pub async fn query(&self, table: &str, prefix: Prefix<'_>, most: usize) -> Result<Vec<Item>> {
        const NAME: &str = "dynamodb:Query";
        let object = format!("{table} {}*", prefix.sort.1);
        let mut body = json!({
            "TableName": table,
            "ConsistentRead": true,
            "KeyConditionExpression": "#p = :p AND begins_with(#s, :s)",
            "ExpressionAttributeNames": { "#p": prefix.partition.0, "#s": prefix.sort.0 },
            "ExpressionAttributeValues": {
                ":p": { "S": prefix.partition.1 }, ":s": { "S": prefix.sort.1 },
            },
        });
        let mut items = Vec::new();
        loop {
            let page: Page = self.ask(NAME, &object, &body, false).await?;
            for item in page.items {
                if items.len() == most {
                    let fault = Fault::Answer(format!("there are more than {most} items"));
                    return Err(Error::new(NAME, &object, fault));
                }
                items.push(from_wire(NAME, &object, item)?);
            }
            match page.last_evaluated_key {
                Some(last) if last.is_object() => body["ExclusiveStartKey"] = last,
                _ => return Ok(items),
            }
        }
    }

    /// What a table is. Needs `dynamodb:DescribeTable`.
    ///
    /// # Errors
    /// The call failed; also if there is no such table.
    pub async fn table(&self, table: &str) -> Result<Table> {
        let body = json!({ "TableName": table });
        let described: Described = self.ask("dynamodb:DescribeTable", table, &body, false).await?;
        let mut key = described.table.key_schema;
        key.sort_by_key(|attribute| attribute.key_type != "HASH");
        let key = key.into_iter().map(|attribute| attribute.attribute_name).collect();
        Ok(Table { status: described.table.table_status, key })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        name: &'static str,
        object: &str,
        body: &Value,
        is_once: bool,
    ) -> Result<T> {
        let action = name.split_once(':').map_or(name, |(_, action)| action);
        let header = |name: &str, value: String| (name.to_owned(), value);
        let body = body.to_string().into_bytes();
        let call = Call {
            service: Service::DynamoDb,
            name,
            object: object.to_owned(),
            method: Method::POST,
            url: None,
            region: None,
            headers: vec![
                header("content-type", "application/x-amz-json-1.0".to_owned()),
                header("x-amz-target", format!("DynamoDB_20120810.{action}")),
            ],
            body: &body,
            limit: limits::ANSWER_BYTES_MAX,
        };
        let answer = if is_once {
            self.0.call_once(&call, &[]).await?
        } else {
            self.0.call(&call, &[]).await?
        };
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::new(name, object, Fault::Answer(excerpt(&error.to_string()))))
    }
}

/// A table and the texts of an item, for errors: the bytes are left out.
fn object(table: &str, item: &Item) -> String {
    let texts = item.values().filter_map(Attribute::as_text);
    format!("{table} {}", texts.collect::<Vec<_>>().join(" "))
}

fn to_wire(item: &Item) -> WireItem {
    let wire = |attribute: &Attribute| match attribute {
        Attribute::Text(text) => Wire { text: Some(text.clone()), bytes: None },
        Attribute::Bytes(bytes) => {
            Wire { text: None, bytes: Some(aws_smithy_types::base64::encode(bytes)) }
        }
    };
    item.iter().map(|(name, attribute)| (name.clone(), wire(attribute))).collect()
}

fn from_wire(call: &'static str, object: &str, item: WireItem) -> Result<Item> {
    let mut read = Item::new();
    for (name, wire) in item {
        let attribute = match wire {
            Wire { text: Some(text), .. } => Attribute::Text(text),
            Wire { bytes: Some(bytes), .. } => {
                let bytes = aws_smithy_types::base64::decode(&bytes);
                let wrong = || Fault::Answer(format!("the attribute {name} is no base64"));
                Attribute::Bytes(bytes.map_err(|_| Error::new(call, object, wrong()))?)
            }
            Wire { .. } => continue,
        };
        read.insert(name, attribute);
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
