//! The query protocol of EC2, Auto Scaling and load balancers: a form in, XML out.

use crate::aws::{Aws, Call};
use crate::endpoint::Service;
use crate::error::{Error, Fault, Result, excerpt};
use crate::limits;
use reqwest::Method;
use serde::de::DeserializeOwned;

/// A call of the query protocol.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    service: Service,
    name: &'static str,
    object: String,
    fields: Vec<(String, String)>,
}

impl Query {
    /// `name` is as IAM names it: the action is what follows the colon.
    pub fn new(service: Service, name: &'static str, object: impl Into<String>) -> Self {
        let action = name.split_once(':').map_or(name, |(_, action)| action);
        let version = match service {
            Service::Ec2 => "2016-11-15",
            Service::Elb => "2015-12-01",
            _ => "2011-01-01",
        };
        let fields = vec![
            ("Action".to_owned(), action.to_owned()),
            ("Version".to_owned(), version.to_owned()),
        ];
        Self { service, name, object: object.into(), fields }
    }

    /// Adds a field.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Adds a field for each of `values`: `PREFIX.1`, `PREFIX.2`, …
    pub fn with_list<'v>(self, prefix: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        let numbered = values.into_iter().enumerate();
        numbered.fold(self, |query, (index, value)| {
            query.with(format!("{prefix}.{}", index + 1), value)
        })
    }

    /// Asks, and reads the answer.
    pub async fn ask<T: DeserializeOwned>(&self, aws: &Aws) -> Result<T> {
        let body = crate::text::form(&self.fields).into_bytes();
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let call = Call {
            service: self.service,
            name: self.name,
            object: self.object.clone(),
            method: Method::POST,
            url: None,
            region: None,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: &body,
            limit: limits::ANSWER_BYTES_MAX,
        };
        let answer = aws.call(&call, &[]).await?;
        let wrong = |text: String| Error::new(self.name, &self.object, Fault::Answer(text));
        let text = std::str::from_utf8(&answer.body);
        let text = text.map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        quick_xml::de::from_str(text).map_err(|error| wrong(excerpt(&error.to_string())))
    }

    /// Asks page after page, until one names no next one.
    pub async fn ask_all<T: DeserializeOwned + Page>(&self, aws: &Aws) -> Result<Vec<T::Item>> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..limits::PAGES_MAX {
            let mut query = self.clone();
            if let Some(token) = token {
                query = query.with("NextToken", token);
            }
            let (items, next) = query.ask::<T>(aws).await?.into_parts();
            all.extend(items);
            token = next.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
        let text = format!("more than {} pages", limits::PAGES_MAX);
        Err(Error::new(self.name, &self.object, Fault::Answer(text)))
    }
}

/// One page of a listing.
pub(crate) trait Page {
    /// What is listed.
    type Item;

    /// The items, and the name of the next page.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

/// EC2's and Auto Scaling's lists: a tag around items.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct List<T> {
    #[serde(alias = "member", default = "Vec::new")]
    pub item: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}
