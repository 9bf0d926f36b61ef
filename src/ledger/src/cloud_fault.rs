//! What a call to AWS means for a ledger: an answer, a refusal, or nobody knows; each in time.

use cloud::{Error, Fault};
use rollout::LedgerError;
use std::time::Duration;

/// What a write came to.
#[derive(Debug)]
pub(crate) enum Asked<T> {
    Answered(T),
    /// It may have been carried out.
    Unknown(String),
}

/// Awaits a read, for `patience` at most.
pub(crate) async fn within<T>(
    step: &str,
    patience: Duration,
    call: impl Future<Output = cloud::Result<T>>,
) -> Result<T, LedgerError> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(refused(step, &error)),
        Err(_) => Err(LedgerError {
            step: step.to_owned(),
            reason: late(patience),
            cure: "see that this host reaches AWS".to_owned(),
        }),
    }
}

/// Awaits a write, for `patience` at most. After an error it was surely not carried out.
pub(crate) async fn write_within<T>(
    step: &str,
    patience: Duration,
    call: impl Future<Output = cloud::Result<T>>,
) -> Result<Asked<T>, LedgerError> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(found)) => Ok(Asked::Answered(found)),
        Ok(Err(Error { fault: Fault::Unclear(reason), .. })) => Ok(Asked::Unknown(reason)),
        Ok(Err(error)) => Err(refused(step, &error)),
        Err(_) => Ok(Asked::Unknown(late(patience))),
    }
}

fn late(patience: Duration) -> String {
    format!("no answer within {} s", patience.as_secs())
}

/// AWS's words, and the cure that a ledger has.
fn refused(step: &str, error: &Error) -> LedgerError {
    let call = error.call;
    let cure = match &error.fault {
        Fault::Missing { .. } => {
            "make the table or the bucket as docs/ledger.md says, or mend name and region"
                .to_owned()
        }
        Fault::Denied { .. } if call == "s3:GetObject" => {
            "the role needs s3:GetObject, s3:PutObject on the prefix and s3:ListBucket on the \
             bucket (docs/ledger.md has the policy)"
                .to_owned()
        }
        Fault::Denied { .. } => format!("allow {call} (docs/ledger.md has the policy)"),
        Fault::NoCredentials(_) => {
            "attach an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into()
        }
        Fault::NoRegion(_) => "write ?region=REGION after the ledger's address".to_owned(),
        Fault::Unreachable { .. } => "see that this host reaches AWS".to_owned(),
        Fault::Request(_) => "see endpoint= in the address, and AWS_ENDPOINT_URL".to_owned(),
        _ => "see docs/ledger.md".to_owned(),
    };
    LedgerError { step: step.to_owned(), reason: format!("{call}: {}", error.fault), cure }
}
