//! Systems Manager: parameters.

use crate::aws::{Aws, Call};
use crate::endpoint::Service;
use crate::error::{Error, Fault, Result, excerpt};
use crate::limits;
use crate::secret::Secret;
use reqwest::Method;
use serde::{Deserialize, Serialize};

/// The calls. [`Aws::ssm`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Ssm<'a>(pub(crate) &'a Aws);

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parameter {
    /// Its whole name.
    pub name: String,
    /// Grows by one with each change.
    pub version: u64,
    /// What it holds.
    pub value: Secret,
    /// Its ARN, by which it may have been asked for.
    #[serde(default, rename = "ARN")]
    pub arn: Option<String>,
}

/// What GetParameters brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Those that there are.
    pub found: Vec<Parameter>,
    /// The names of those that there are not.
    pub missing: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    names: &'a [&'a str],
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    invalid_parameters: Vec<String>,
}

impl Ssm<'_> {
    /// Parameters by their names; as many calls as that takes. Needs `ssm:GetParameters`, and with
    /// decryption `kms:Decrypt` where a key of one's own encrypts them. Without it a SecureString's
    /// value is its ciphertext: enough to see by its version that it changed.
    ///
    /// # Errors
    /// A call failed. A parameter that is not there is none: it is in `missing`.
    pub async fn parameters(&self, names: &[&str], with_decryption: bool) -> Result<Parameters> {
        const NAME: &str = "ssm:GetParameters";
        let mut all = Parameters::default();
        for names in names.chunks(limits::PARAMETERS_PER_CALL) {
            let object = names.join(" ");
            let wrong = |text: String| Error::new(NAME, &object, Fault::Answer(text));
            let body = serde_json::to_vec(&Request { names, with_decryption })
                .map_err(|error| wrong(error.to_string()))?;
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let headers = vec![
                header("content-type", "application/x-amz-json-1.1"),
                header("x-amz-target", "AmazonSSM.GetParameters"),
            ];
            let call = Call {
                service: Service::Ssm,
                name: NAME,
                object: object.clone(),
                method: Method::POST,
                url: None,
                region: None,
                headers,
                body: &body,
                limit: limits::ANSWER_BYTES_MAX,
            };
            let answer = self.0.call(&call, &[]).await?;
            let body = zeroize::Zeroizing::new(answer.body);
            // The place of a mistake in the text, and none of the text.
            let read: Response = serde_json::from_slice(&body).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                wrong(excerpt(&format!("not JSON as expected, line {line} column {column}")))
            })?;
            all.found.extend(read.parameters);
            all.missing.extend(read.invalid_parameters);
        }
        Ok(all)
    }
}
