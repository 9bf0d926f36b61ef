//! Parameters of SSM, each with its own answer.
//!
//! AWS refuses a call as a whole when the role may not read one of its parameters. So a call that
//! was refused is made again for each parameter alone: one that is out of reach holds up no other.

use super::plan::REFERENCE;
use cloud::{Aws, Secret};
use std::collections::BTreeMap;

/// Parameters in one call of GetParameters: AWS's own limit.
const CALL_MAX: usize = 10;

/// What a parameter holds.
#[derive(Debug)]
pub struct Found {
    /// Grows by one with each change.
    pub version: u64,
    secret: Secret,
}

impl Found {
    /// The secret itself; its ciphertext if it was asked for without decryption.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.secret.expose().as_bytes()
    }
}

/// Asks SSM.
#[derive(Debug)]
pub struct Parameters {
    aws: Option<Aws>,
}

impl Parameters {
    /// By this host's role; by nobody if it is not an EC2 instance.
    #[must_use]
    pub fn new(aws: Option<Aws>) -> Self {
        Self { aws }
    }

    /// What each of `names` holds, or why that cannot be had.
    pub async fn ask(
        &self,
        names: &[String],
        with_decryption: bool,
    ) -> BTreeMap<String, Result<Found, String>> {
        let mut answers = BTreeMap::new();
        let Some(aws) = &self.aws else {
            let reason = "agent.toml has no [cloud] section, so SSM is not asked; add one and \
                          restart rollinit-agent";
            answers.extend(names.iter().map(|name| (name.clone(), Err(reason.to_owned()))));
            return answers;
        };
        for names in calls(names) {
            match aws.ssm().parameters(&names, with_decryption).await {
                Ok(found) => answers.extend(sort(&names, found)),
                Err(error) if names.len() > 1 && !error.is_passing() => {
                    for name in names {
                        let found = aws.ssm().parameters(&[name], with_decryption).await;
                        answers.extend(found.map_or_else(
                            |error| vec![(name.to_owned(), Err(error.to_string()))],
                            |found| sort(&[name], found),
                        ));
                    }
                }
                Err(error) => {
                    let failed = |name: &&str| ((*name).to_owned(), Err(error.to_string()));
                    answers.extend(names.iter().map(failed));
                }
            }
        }
        answers
    }
}

/// Names by the call they go into. Two versions of one parameter cannot be told apart in one
/// answer, so they go into different calls; a reference to Secrets Manager, which may be answered
/// by another name, goes alone.
fn calls(names: &[String]) -> Vec<Vec<&str>> {
    let mut calls: Vec<Vec<&str>> = Vec::new();
    for name in names {
        let fits = |call: &&mut Vec<&str>| {
            let is_other =
                |other: &&str| bare(other) != bare(name) && !other.starts_with(REFERENCE);
            call.len() < CALL_MAX && !name.starts_with(REFERENCE) && call.iter().all(is_other)
        };
        match calls.iter_mut().find(fits) {
            Some(call) => call.push(name),
            None => calls.push(vec![name]),
        }
    }
    calls
}

/// A name as an answer has it: without the version or label behind it. An ARN's colons are its own.
fn bare(name: &str) -> &str {
    let (head, tail) = match name.strip_prefix("arn:") {
        // arn:aws:ssm:REGION:ACCOUNT:parameter/NAME
        Some(_) => {
            name.match_indices(':').nth(4).map_or((name, ""), |(at, _)| name.split_at(at + 1))
        }
        None => ("", name),
    };
    let length = head.len() + tail.find(':').unwrap_or(tail.len());
    &name[..length]
}

/// Gives each name its answer.
fn sort(names: &[&str], found: cloud::ssm::Parameters) -> Vec<(String, Result<Found, String>)> {
    let cloud::ssm::Parameters { mut found, missing } = found;
    let answer = |name: &&str| {
        let is_it = |parameter: &cloud::ssm::Parameter| {
            // Who asks for one alone has one answer.
            names.len() == 1
                || parameter.name == bare(name)
                || parameter.arn.as_deref() == Some(bare(name))
        };
        let answer = match found.iter().position(is_it) {
            Some(at) => {
                let parameter = found.swap_remove(at);
                Ok(Found { version: parameter.version, secret: parameter.value })
            }
            None if missing.iter().any(|gone| gone == name || bare(gone) == bare(name)) => {
                Err(format!(
                    "SSM has no such parameter in this region and account; make it: \
                     `aws ssm put-parameter --type SecureString --name {} --value …`",
                    bare(name)
                ))
            }
            None => Err(format!("SSM answers and does not mention {name}")),
        };
        ((*name).to_owned(), answer)
    };
    names.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, version: u64) -> cloud::ssm::Parameter {
        let arn = Some(format!("arn:aws:ssm:r:1:parameter{name}"));
        cloud::ssm::Parameter {
            name: name.to_owned(),
            version,
            value: Secret::new(format!("{name} v{version}")),
            arn,
        }
    }

    /// Ten a call, and versions of one parameter apart.
    #[test]
    fn names_are_spread_over_calls() {
        let names: Vec<String> = (0..23).map(|number| format!("/p{number:02}")).collect();
        let lengths: Vec<usize> = calls(&names).iter().map(Vec::len).collect();
        assert_eq!(lengths, [10, 10, 3]);
        let names = ["/a", "/a:3", "/b", "/a:live"].map(str::to_owned);
        assert_eq!(calls(&names), [vec!["/a", "/b"], vec!["/a:3"], vec!["/a:live"]]);
        assert!(calls(&[]).is_empty());
        let names = ["/a", "/aws/reference/secretsmanager/b", "/c"].map(str::to_owned);
        assert_eq!(calls(&names), [vec!["/a", "/c"], vec!["/aws/reference/secretsmanager/b"]]);
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/a";
        assert_eq!((bare(arn), bare(&format!("{arn}:7"))), (arn, arn));
        assert_eq!(bare("/a"), "/a");
    }

    /// Each name has its own answer, by whatever name it was asked for; what SSM lacks names the
    /// command that makes it, and what it passes over in silence is said as well.
    #[test]
    fn answers_find_their_names() {
        let found = cloud::ssm::Parameters {
            found: vec![parameter("/b", 2), parameter("/a", 7)],
            missing: vec!["/gone".to_owned()],
        };
        let names = ["/a:7", "arn:aws:ssm:r:1:parameter/b", "/gone", "/silent"];
        let answers = sort(&names, found);
        let value = |at: usize| answers[at].1.as_ref().expect("found").value();
        assert_eq!((value(0), value(1)), (&b"/a v7"[..], &b"/b v2"[..]));
        assert_eq!(answers[0].0, "/a:7");
        let reason = |at: usize| answers[at].1.as_ref().expect_err("not found").as_str();
        assert!(reason(2).contains("put-parameter --type SecureString --name /gone"));
        assert_eq!(reason(3), "SSM answers and does not mention /silent");
    }
}
