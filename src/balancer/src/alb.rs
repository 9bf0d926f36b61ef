//! Target groups of Elastic Load Balancing (ALB or NLB), and the Auto Scaling group behind them.
//!
//! A target that leaves shows `draining` until the deregistration delay is over, also when nothing
//! is in flight any more. So nobody waits for `unused` here: the kernel's own table of connections
//! tells sooner ([`crate::connections`]), and the delay is only the bound.

use crate::connections;
use crate::front::{Scope, Wanted};
use crate::limits::{ALB_POLL, JOIN_SLACK};
use crate::machine::{Order, Rules, Seen, Stand, Taken, Trouble};
use cloud::elb::{Health, Target, TargetHealth};
use cloud::{Aws, Imds};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The deregistration delay of a group that does not tell: AWS's own default.
const DELAY: Duration = Duration::from_secs(300);

/// What the Auto Scaling group is told while the host is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing.
    None,
    /// The instance is in standby.
    Standby,
    /// The group replaces nobody.
    Suspend,
}

/// Target groups with this host in them.
#[derive(Debug)]
pub struct Alb {
    aws: Aws,
    imds: Imds,
    /// ARNs or names.
    groups: Vec<String>,
    /// The port of the targets; nothing: the group's.
    port: Option<u16>,
    absence: Absence,
    /// Where the kernel's tables of connections are.
    tables: PathBuf,
    learned: OnceCell<Learned>,
}

/// What does not change, and is asked for once, early: at the end of a host nobody may answer.
#[derive(Clone, Debug)]
struct Learned {
    instance: String,
    /// The Auto Scaling group, if there is one and it is told things.
    scaling: Option<String>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    arn: String,
    name: String,
    /// What this host is called there: an instance or an address.
    id: String,
    port: u16,
    delay: Duration,
    join_max: Duration,
}

impl Group {
    fn place(&self, port: u16) -> String {
        format!("{} {}:{port}", self.name, self.id)
    }

    /// The port of a place of this group, if it is one.
    fn port_of(&self, place: &str) -> Option<u16> {
        place.strip_prefix(&format!("{} {}:", self.name, self.id))?.parse().ok()
    }
}

impl Alb {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(
        aws: Aws,
        imds: Imds,
        groups: Vec<String>,
        port: Option<u16>,
        absence: Absence,
    ) -> Self {
        let tables = PathBuf::from("/proc/net");
        Self { aws, imds, groups, port, absence, tables, learned: OnceCell::new() }
    }

    /// Reads the tables of connections in another folder.
    #[must_use]
    pub fn with_tables(self, tables: PathBuf) -> Self {
        Self { tables, ..self }
    }

    /// The rules, with the groups' own times.
    ///
    /// # Errors
    /// They are not known.
    pub async fn rules(&self, wanted: &Wanted) -> Result<Rules, Trouble> {
        let learned = self.learned().await?;
        let longest = |of: fn(&Group) -> Duration| learned.groups.iter().map(of).max();
        Ok(Rules {
            floor: wanted.floor,
            drain_max: wanted.drain_max.or(longest(|group| group.delay)).unwrap_or(DELAY),
            join_max: wanted.join_max.or(longest(|group| group.join_max)).unwrap_or(JOIN_SLACK),
            settle: wanted.settle,
            min_healthy: wanted.min_healthy,
            patience: wanted.patience,
            poll: ALB_POLL,
            shuts: false,
            excuses: learned.scaling.is_some(),
        })
    }

    async fn learned(&self) -> Result<&Learned, Trouble> {
        self.learned.get_or_try_init(|| self.learn()).await
    }

    async fn learn(&self) -> Result<Learned, Trouble> {
        let identity = self.imds.identity().await.map_err(trouble)?;
        let mut groups = Vec::new();
        for group in &self.groups {
            groups.push(self.learn_group(group, &identity).await?);
        }
        let instance = identity.instance_id;
        let scaling = if self.absence == Absence::None {
            None
        } else {
            let member = self.aws.auto_scaling().member(&instance).await.map_err(trouble)?;
            member.map(|member| member.group)
        };
        Ok(Learned { instance, scaling, groups })
    }

    async fn learn_group(
        &self,
        name: &str,
        identity: &cloud::imds::Identity,
    ) -> Result<Group, Trouble> {
        let elb = self.aws.elb();
        let lasting = |reason: String, cure: &str| Trouble::Lasting(reason, cure.to_owned());
        let found = elb.target_group(name).await.map_err(trouble)?;
        let found = found.ok_or_else(|| {
            let reason = format!("there is no target group {name}");
            lasting(reason, "correct `target-groups` of the balancer in agent.toml")
        })?;
        let id = match found.target_type.as_str() {
            "ip" => identity.private_ip.clone().ok_or_else(|| {
                let reason = format!("{name} wants addresses, and this instance has no IPv4 one");
                lasting(reason, "use a target group of the type instance")
            })?,
            "instance" | "" => identity.instance_id.clone(),
            other => {
                let reason = format!("{name} is a target group of the type {other}");
                return Err(lasting(reason, "use one of the type instance or ip"));
            }
        };
        let port = self.port.or(found.port).ok_or_else(|| {
            let reason = format!("{name} has no port of its own");
            lasting(reason, "set `port` of the balancer in agent.toml")
        })?;
        let delay = elb.deregistration_delay(&found.arn).await.map_err(trouble)?;
        let check_s = (found.interval_s + found.timeout_s) * found.healthy_threshold.max(1);
        Ok(Group {
            arn: found.arn,
            name: found.name,
            id,
            port,
            delay: delay.unwrap_or(DELAY),
            join_max: Duration::from_secs(check_s) + JOIN_SLACK,
        })
    }

    /// How the host stands in each group.
    ///
    /// # Errors
    /// AWS does not tell, or says no.
    pub async fn look(&self, scope: Scope, taken: &[Taken]) -> Result<Vec<Seen>, Trouble> {
        let learned = self.learned().await?;
        let mut seen = Vec::new();
        for group in &learned.groups {
            let targets = self.aws.elb().targets(&group.arn).await.map_err(trouble)?;
            for port in ports(group, scope, self.port, &targets, taken) {
                seen.push(self.place(group, port, &targets));
            }
        }
        Ok(seen)
    }

    fn place(&self, group: &Group, port: u16, targets: &[TargetHealth]) -> Seen {
        let is_mine = |one: &&TargetHealth| is_at(group, &one.target, port);
        let mine = targets.iter().find(is_mine);
        let others = targets.iter().filter(|one| !is_mine(one));
        Seen {
            place: group.place(port),
            stand: mine.map_or(Stand::Absent, |one| stand(&one.health)),
            // What cannot be read is not known; the delay bounds it.
            in_flight: connections::to_port(&self.tables, port).ok(),
            others_healthy: others.filter(|one| one.health.state == "healthy").count(),
        }
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// AWS says no, or nothing.
    pub async fn tell(&self, order: &Order) -> Result<(), Trouble> {
        let learned = self.learned().await?;
        let found = |place: &str| {
            let of =
                |group: &Group| Some((group.arn.clone(), group.id.clone(), group.port_of(place)?));
            let found = learned.groups.iter().find_map(of);
            let text = || Trouble::Passing(format!("{place} is not configured any more"));
            found.map(|(arn, id, port)| (arn, Target { id, port: Some(port) })).ok_or_else(text)
        };
        match order {
            Order::Take(place) => {
                let (arn, target) = found(place)?;
                self.aws.elb().deregister(&arn, &target).await.map_err(trouble)
            }
            Order::Give(place) => {
                let (arn, target) = found(place)?;
                self.aws.elb().register(&arn, &target).await.map_err(trouble)
            }
            Order::Shut(_) => Ok(()),
            Order::Excuse => self.excuse(learned).await,
            Order::Recall => self.recall(learned).await,
        }
    }

    async fn excuse(&self, learned: &Learned) -> Result<(), Trouble> {
        let (Some(group), scaling) = (&learned.scaling, self.aws.auto_scaling()) else {
            return Ok(());
        };
        if self.absence == Absence::Suspend {
            return scaling.suspend_replacement(group).await.map_err(trouble);
        }
        match self.lifecycle(learned).await?.as_deref() {
            Some("Standby" | "EnteringStandby") | None => Ok(()),
            Some(_) => {
                let entered = scaling.enter_standby(group, &learned.instance).await;
                self.unless_so(learned, entered, &["Standby", "EnteringStandby"]).await
            }
        }
    }

    async fn recall(&self, learned: &Learned) -> Result<(), Trouble> {
        let (Some(group), scaling) = (&learned.scaling, self.aws.auto_scaling()) else {
            return Ok(());
        };
        if self.absence == Absence::Suspend {
            return scaling.resume_replacement(group).await.map_err(trouble);
        }
        match self.lifecycle(learned).await?.as_deref() {
            Some("Standby") => {
                let exited = scaling.exit_standby(group, &learned.instance).await;
                self.unless_so(learned, exited, &["Pending", "InService"]).await
            }
            Some("EnteringStandby") => {
                let instance = &learned.instance;
                Err(Trouble::Passing(format!("{instance} is still entering standby in {group}")))
            }
            _ => Ok(()),
        }
    }

    /// What came of an order that AWS refuses when it is repeated: the answer of the first may have
    /// been lost, so it is looked at.
    async fn unless_so(
        &self,
        learned: &Learned,
        told: cloud::Result<()>,
        wanted: &[&str],
    ) -> Result<(), Trouble> {
        let Err(error) = told else { return Ok(()) };
        match self.lifecycle(learned).await?.as_deref() {
            Some(state) if wanted.contains(&state) => Ok(()),
            _ => Err(trouble(error)),
        }
    }

    /// How the instance stands in its Auto Scaling group.
    async fn lifecycle(&self, learned: &Learned) -> Result<Option<String>, Trouble> {
        let member = self.aws.auto_scaling().member(&learned.instance).await.map_err(trouble)?;
        Ok(member.map(|member| member.lifecycle_state))
    }
}

/// The ports at which this host is, or was, or should be a target of `group`; of a balancer that is
/// `only` for one port, that.
fn ports(
    group: &Group,
    scope: Scope,
    only: Option<u16>,
    targets: &[TargetHealth],
    taken: &[Taken],
) -> Vec<u16> {
    let mine = targets.iter().filter(|one| one.target.id == group.id);
    let now = mine.map(|one| one.target.port.unwrap_or(group.port));
    let before = taken.iter().filter_map(|one| group.port_of(&one.place));
    let mut ports: Vec<u16> = match (scope, only) {
        (Scope::At(port), _) | (Scope::All, Some(port)) => vec![port],
        (Scope::All, None) => now.chain(before).collect(),
        (Scope::NotAt(_), _) => now.filter(|port| scope.holds(*port, only)).collect(),
    };
    if ports.is_empty() && scope == Scope::All {
        ports.push(group.port);
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn is_at(group: &Group, target: &Target, port: u16) -> bool {
    target.id == group.id && target.port.unwrap_or(group.port) == port
}

/// How a target stands, by AWS's words for it.
fn stand(health: &Health) -> Stand {
    let words = [health.reason.as_str(), health.description.as_str()];
    let words = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>();
    let words = if words.is_empty() { health.state.clone() } else { words.join(": ") };
    match (health.state.as_str(), health.reason.as_str()) {
        ("healthy", _) => Stand::Serving,
        ("initial", _) => Stand::Joining,
        ("draining", _) => Stand::Draining,
        ("unused", "Target.NotRegistered") => Stand::Absent,
        // No load balancer uses the group (or the zone): nothing will ever come of waiting.
        ("unused", "Target.NotInUse") => Stand::Idle(words),
        _ => Stand::Sick(words),
    }
}

/// A call that failed: whether it may work another time.
fn trouble(error: cloud::Error) -> Trouble {
    if error.is_passing() {
        return Trouble::Passing(error.to_string());
    }
    let cure = "docs/balancers.md has the policy that the host's role needs";
    Trouble::Lasting(error.to_string(), cure.to_owned())
}

#[cfg(test)]
mod tests;
