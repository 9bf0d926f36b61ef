//! What AWS means by a refusal.

use crate::error::{Fault, excerpt};
use crate::http::Answer;
use quick_xml::events::Event;

/// What to do about a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask again later.
    Throttled(Fault),
    /// Ask again later; it may have been carried out.
    Broken(Fault),
    /// Ask again with AWS's own time.
    Clock(Fault),
    /// Ask again with new credentials.
    Credentials(Fault),
    /// Do not ask again.
    Final(Fault),
}

const THROTTLED: [&str; 11] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "SlowDown",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
];
const CLOCK: [&str; 3] = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"];
const SIGNATURE: [&str; 3] = ["SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure"];
const CREDENTIALS: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
];
const DENIED: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"];

/// Judges an answer that is none of success. `action` is the call as IAM names it.
pub(crate) fn judge(action: &str, answer: &Answer) -> Verdict {
    let Told { code, message } = told(answer);
    let status = answer.status;
    let is = |list: &[&str]| list.contains(&code.as_str());
    let refused = || Fault::Refused { status, code: code.clone(), message: message.clone() };
    let is_late = ["Signature expired", "Signature not yet current", "not yet valid"]
        .iter()
        .any(|words| message.contains(words));
    if is_throttled(&code) || status == 429 {
        Verdict::Throttled(refused())
    } else if status >= 500 {
        Verdict::Broken(refused())
    } else if is(&CLOCK) || (is(&SIGNATURE) && is_late) {
        Verdict::Clock(refused())
    } else if is(&CREDENTIALS) || code == "AuthFailure" {
        Verdict::Credentials(refused())
    } else if is(&DENIED) || (status == 403 && code.is_empty()) {
        let action = missing_action(&message).unwrap_or(action).to_owned();
        let message =
            if message.is_empty() { format!("{status}, without a reason") } else { message };
        Verdict::Final(Fault::Denied { action, message })
    } else if status == 404 || code.contains("NotFound") || code.starts_with("NoSuch") {
        let code = if code.is_empty() { status.to_string() } else { code };
        Verdict::Final(Fault::Missing { code, message })
    } else {
        Verdict::Final(refused())
    }
}

/// The action that AWS names: it may be another than the call's (`kms:Decrypt` of GetParameters).
fn missing_action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let end = rest.find(|letter: char| letter.is_whitespace()).unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches(['.', ',']))
}

/// Whether AWS is only out of breath when it says this; older services say it with the status 400.
pub(crate) fn is_throttled(code: &str) -> bool {
    THROTTLED.contains(&code)
}

/// AWS's own words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    code: String,
    message: String,
}

fn told(answer: &Answer) -> Told {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_start();
    if text.starts_with('{') {
        return told_in_json(text);
    }
    let mut told = told_in_xml(text);
    if told.code.is_empty() && !text.starts_with('<') {
        told.message = excerpt(text);
    }
    told
}

fn told_in_json(text: &str) -> Told {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return Told { code: String::new(), message: excerpt(text) };
    };
    let field = |names: &[&str]| {
        let found = names.iter().find_map(|name| value.get(name)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    // `com.amazonaws.ssm#ParameterNotFound:http://…`: the word in the middle.
    let kind = field(&["__type", "code"]);
    let code = kind.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    Told { code: excerpt(code), message: excerpt(&field(&["message", "Message"])) }
}

/// The first `Code` and the first `Message`, wherever they are: each service has its own wrapping.
fn told_in_xml(text: &str) -> Told {
    let mut found: [Option<String>; 2] = [None, None];
    let mut reader = quick_xml::Reader::from_str(text);
    // Which of the two is being read, and what it holds so far.
    let mut inside: Option<(usize, String)> = None;
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                let index =
                    ["Code", "Message"].iter().position(|name| *name == tag.local_name().as_ref());
                inside = index
                    .filter(|index| found[*index].is_none())
                    .map(|index| (index, String::new()));
            }
            Ok(Event::End(_)) => {
                if let Some((index, text)) = inside.take() {
                    found[index] = Some(text);
                }
            }
            Ok(Event::Text(piece)) => {
                if let Some((_, text)) = &mut inside {
                    text.push_str(&piece);
                }
            }
            Ok(Event::GeneralRef(name)) => {
                if let Some((_, text)) = &mut inside {
                    text.push_str(
                        quick_xml::escape::resolve_predefined_entity(&name).unwrap_or("?"),
                    );
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let [code, message] = found.map(|text| excerpt(&text.unwrap_or_default()));
    Told { code, message }
}

#[cfg(test)]
mod tests;
