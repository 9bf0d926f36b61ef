//! Credentials of services that come from SSM: fetched by the host's role, brought to the
//! supervisor, and brought again when they change. Nothing is kept here but version numbers.

mod fetch;
mod plan;

use crate::app::Tools;
use control::base64;
use control::client::Delivery;
use control::types::{Credential, CredentialProblem, NewCredential};
use fetch::{Found, Parameters};
use plan::{Plan, Want};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Bytes of secrets, in base64, that go into one call of the supervisor, which takes 64 KiB. A
/// single one is always below it.
const DELIVERY_BYTES_MAX: usize = 48 * 1024;

/// What one owner gets.
#[derive(Default)]
struct Parcel {
    credentials: Vec<NewCredential>,
    problems: Vec<CredentialProblem>,
    /// The parameters that those come from.
    parameters: Vec<String>,
}

/// Brings credentials for as long as the agent lives.
pub async fn run(tools: Rc<Tools>, poll: Duration) {
    let (sender, list) = watch::channel(Vec::new());
    let parameters = Parameters::new(tools.ec2.as_ref().map(|ec2| ec2.aws.clone()));
    tokio::join!(
        tools.supervisor.watch_credentials(|credentials| drop(sender.send_replace(credentials))),
        Courier { tools: &tools, parameters, plan: Plan::new(millis(poll)), began: Instant::now() }
            .serve(list),
    );
}

struct Courier<'a> {
    tools: &'a Tools,
    parameters: Parameters,
    plan: Plan,
    began: Instant,
}

impl Courier<'_> {
    async fn serve(mut self, mut list: watch::Receiver<Vec<Credential>>) {
        loop {
            let due = self.plan.due_ms().map(|ms| self.began + Duration::from_millis(ms));
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = list.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now_ms = self.now_ms();
                    let wanted = list.borrow_and_update().clone();
                    self.plan.want(now_ms, &wanted);
                }
                () = due => self.round().await,
            }
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Asks all that is to be asked now, and delivers what comes of it.
    async fn round(&mut self) {
        let mut questions = self.plan.questions(self.now_ms());
        // One number for all: what was asked together is asked together again.
        let chance = cloud::retry::chance();
        let mut answers: BTreeMap<String, Result<Found, String>> = BTreeMap::new();
        let versions = self.parameters.ask(&questions.versions, false).await;
        let now_ms = self.now_ms();
        for (name, answer) in versions {
            match answer {
                Ok(found) => {
                    if self.plan.seen(now_ms, chance, &name, found.version) {
                        tracing::info!("{name} has version {} now", found.version);
                        questions.values.push(name);
                    }
                }
                Err(reason) => drop(answers.insert(name, Err(reason))),
            }
        }
        answers.extend(self.parameters.ask(&questions.values, true).await);
        let mut outcome: BTreeMap<&str, bool> = BTreeMap::new();
        for (owner, parcel) in self.parcels(&answers) {
            let arrived = self.deliver(&owner, &parcel).await;
            for parameter in &parcel.parameters {
                if let Some((name, _)) = answers.get_key_value(parameter) {
                    *outcome.entry(name).or_insert(true) &= arrived;
                }
            }
        }
        let now_ms = self.now_ms();
        for (name, answer) in &answers {
            let arrived = outcome.get(name.as_str()).copied().unwrap_or(true);
            match answer {
                Ok(found) if arrived => self.plan.delivered(now_ms, chance, name, found.version),
                Ok(_) | Err(_) => self.plan.failed(now_ms, chance, name),
            }
        }
    }

    fn parcels(&self, answers: &BTreeMap<String, Result<Found, String>>) -> Vec<(String, Parcel)> {
        let mut parcels: Vec<(String, Parcel)> = Vec::new();
        for (parameter, answer) in answers {
            for Want { owner, name, .. } in self.plan.takers(parameter) {
                let value = answer.as_ref().map(|found| base64::encode(found.value()));
                let length = value.as_ref().map_or(0, String::len);
                let has_room = |(of, parcel): &(String, Parcel)| {
                    of == owner && parcel.length() + length <= DELIVERY_BYTES_MAX
                };
                let at = parcels.iter().position(has_room).unwrap_or_else(|| {
                    parcels.push((owner.clone(), Parcel::default()));
                    parcels.len() - 1
                });
                let parcel = &mut parcels[at].1;
                parcel.parameters.push(parameter.clone());
                let name = name.clone();
                match value {
                    Ok(value) => parcel.credentials.push(NewCredential { name, value }),
                    Err(reason) => {
                        let reason = reason.clone();
                        parcel.problems.push(CredentialProblem { name, reason });
                    }
                }
            }
        }
        parcels
    }

    /// Whether the supervisor took it.
    async fn deliver(&self, owner: &str, parcel: &Parcel) -> bool {
        let Parcel { credentials, problems, .. } = parcel;
        let delivery = Delivery { owner, credentials, problems };
        let put =
            async |client: &mut control::client::Client| client.put_credentials(delivery).await;
        match self.tools.supervisor.ask(put).await {
            Ok(put) if put.changed.is_empty() => true,
            Ok(put) => {
                tracing::info!("{owner} has new credentials: {}", put.changed.join(", "));
                true
            }
            // A definition that changed meanwhile: the next list says what it wants now.
            Err(error) => {
                tracing::warn!("credentials of {owner} are not taken: {error}");
                false
            }
        }
    }
}

impl Parcel {
    fn length(&self) -> usize {
        self.credentials.iter().map(|credential| credential.value.len()).sum()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
