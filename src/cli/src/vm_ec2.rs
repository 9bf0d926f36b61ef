//! `rollinit vm --ec2`: instances of EC2 for a while, by the API and nothing else.
//!
//! Whatever is started here carries three tags: [`MARK`], the time at which it is too old, and its
//! name. What does not carry the mark is neither listed nor ended. An instance that is started also
//! gets that time as the `lifetime` of its user-data, and ends for good when it powers itself off:
//! so it goes even if nobody ever runs `destroy-old`.
//!
//! Credentials, region, endpoint and proxy are those that AWS's own tools take from the
//! environment.

mod list;
mod request;

use crate::exit::{Code, Failure};
use crate::screen::Screen;
use crate::times;
use clap::{Args, ValueEnum};
use cloud::ec2::{Filter, Instance};
use cloud::{Aws, Imds};
use serde::Serialize;
use std::path::Path;
use std::time::SystemTime;

/// The tag of everything that is ours.
pub const MARK: &str = "rollinit:vm";

/// The tag with the time at which an instance is too old.
pub const EXPIRES: &str = "rollinit:expires";

/// States of instances that still are, or can be again.
const LIVING: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verb {
    /// Start instances of --image, to become the SYSTEM
    Run,
    /// List what was started so
    List,
    /// End an instance, by its id or its name
    Destroy,
    /// End those that are older than their --ttl
    DestroyOld,
}

/// What `--ec2` needs beside what a guest of QEMU has.
#[derive(Debug, Args)]
pub struct InstanceArguments {
    /// With --ec2 run: the AMI, as docs/ec2.md makes one
    #[arg(long, value_name = "AMI", requires = "ec2")]
    image: Option<String>,
    /// With --ec2 run: the instance type
    #[arg(long = "type", value_name = "TYPE", default_value = "t3.small")]
    kind: String,
    /// With --ec2 run: the value of the tag Name
    #[arg(long, value_name = "NAME", requires = "ec2")]
    name: Option<String>,
    /// With --ec2 run: how long it may live
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = ttl)]
    ttl: Ttl,
    /// With --ec2 run: how many; all of them or none
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX))]
    count: u32,
    /// With --ec2 run: the subnet, if not the default one
    #[arg(long, value_name = "SUBNET", requires = "ec2")]
    subnet: Option<String>,
    /// With --ec2 run: a security group, not the default (repeatable)
    #[arg(long, value_name = "GROUP", requires = "ec2")]
    security_group: Vec<String>,
    /// With --ec2 run: the instance profile whose role they have
    #[arg(long, value_name = "PROFILE", requires = "ec2")]
    instance_profile: Option<String>,
    /// With --ec2: say what would be done, and do nothing
    #[arg(long, requires = "ec2")]
    dry_run: bool,
}

/// Instances of one call: a typing mistake shall not cost a month's money.
const COUNT_MAX: i64 = 20;

/// How long an instance may live, as it was written and in milliseconds.
#[derive(Clone, Debug)]
struct Ttl {
    text: String,
    milliseconds: u64,
}

fn ttl(text: &str) -> Result<Ttl, String> {
    let milliseconds = times::milliseconds(text)?;
    if milliseconds < userdata::LIFETIME_MS_MIN {
        return Err("at least a minute is due: it takes as long to boot".to_owned());
    }
    Ok(Ttl { text: text.to_owned(), milliseconds })
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Done<'a> {
    Run { dry_run: bool, instances: Vec<list::Row>, user_data: Option<&'a str> },
    Destroyed { dry_run: bool, instances: Vec<list::Row> },
}

/// Does it.
///
/// # Errors
/// A [`Failure`] that names the call, its object, and the IAM action that is missing.
pub fn run(
    verb: Verb,
    arguments: &InstanceArguments,
    what: Option<&Path>,
    user_data: Option<&Path>,
    disk_gib: u32,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local("cannot start", &error))?;
    runtime.block_on(async {
        let aws = aws()?;
        match verb {
            Verb::Run => {
                let request = request::make(arguments, what, user_data, disk_gib)?;
                start(&aws, arguments, request, screen).await
            }
            Verb::List => {
                let instances = find(&aws, &[]).await?;
                list::print(&instances, SystemTime::now(), screen)?;
                Ok(Code::Done)
            }
            Verb::Destroy => {
                let name = what.and_then(Path::to_str).ok_or_else(|| Failure {
                    cures: vec!["rollinit vm --ec2 list shows ids and names.".to_owned()],
                    ..wrong("--ec2 destroy needs the id or the name of an instance")
                })?;
                destroy(&aws, arguments, &named(&aws, name).await?, screen).await
            }
            Verb::DestroyOld => {
                let now = SystemTime::now();
                let mut instances = find(&aws, &[]).await?;
                instances.retain(|instance| list::is_old(instance, now));
                destroy(&aws, arguments, &instances, screen).await
            }
        }
    })
}

fn aws() -> Result<Aws, Failure> {
    let imds = Imds::new(cloud::imds::Options::from_environment())?;
    Ok(Aws::new(cloud::Options::from_environment()?, imds))
}

/// What carries our mark and lives, the oldest first.
async fn find(aws: &Aws, more: &[Filter]) -> Result<Vec<Instance>, Failure> {
    let mut filters = vec![
        Filter::new("tag-key", MARK),
        Filter {
            name: "instance-state-name".to_owned(),
            values: LIVING.map(str::to_owned).to_vec(),
        },
    ];
    filters.extend_from_slice(more);
    let mut instances = aws.ec2().instances(&filters).await?;
    instances.sort_by_key(|instance| (instance.launch_time, instance.instance_id.clone()));
    Ok(instances)
}

/// Those of that id or name.
async fn named(aws: &Aws, name: &str) -> Result<Vec<Instance>, Failure> {
    let filter = if name.starts_with("i-") {
        Filter::new("instance-id", name)
    } else {
        Filter::tag("Name", name)
    };
    let found = find(aws, &[filter]).await?;
    if found.is_empty() {
        return Err(Failure {
            code: Code::NoSuchService,
            kind: "no_such_instance",
            message: format!("{name}: no living instance of that id or name has the tag {MARK}"),
            cures: vec!["rollinit vm --ec2 list shows those that have it.".to_owned()],
        });
    }
    Ok(found)
}

async fn start(
    aws: &Aws,
    arguments: &InstanceArguments,
    request: cloud::ec2::RunRequest,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let instances = match arguments.dry_run {
        true => Vec::new(),
        false => aws.ec2().run(&request).await?.instances,
    };
    let user_data = request.user_data.as_deref().and_then(|bytes| str::from_utf8(bytes).ok());
    let now = SystemTime::now();
    if screen.json {
        let rows = instances.iter().map(|instance| list::Row::of(instance, now)).collect();
        screen.json(&Done::Run { dry_run: arguments.dry_run, instances: rows, user_data })?;
        return Ok(Code::Done);
    }
    if arguments.dry_run {
        let (count, image, kind) = (request.count, &request.image, &request.instance_type);
        let text = user_data.unwrap_or_default();
        screen.text(&format!("would start {count} x {kind} of {image}, with:\n{text}"))?;
        return Ok(Code::Done);
    }
    list::print(&instances, now, screen)?;
    Ok(Code::Done)
}

async fn destroy(
    aws: &Aws,
    arguments: &InstanceArguments,
    instances: &[Instance],
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let ids: Vec<&str> = instances.iter().map(|instance| instance.instance_id.as_str()).collect();
    if !arguments.dry_run {
        aws.ec2().terminate(&ids).await?;
    }
    let now = SystemTime::now();
    if screen.json {
        let rows = instances.iter().map(|instance| list::Row::of(instance, now)).collect();
        screen.json(&Done::Destroyed { dry_run: arguments.dry_run, instances: rows })?;
        return Ok(Code::Done);
    }
    let word = if arguments.dry_run { "would be ended" } else { "is ended" };
    for instance in instances {
        let name = list::name(instance);
        screen.text(&format!("{} {name} {word}\n", instance.instance_id))?;
    }
    if instances.is_empty() {
        screen.text("nothing to end\n")?;
    }
    Ok(Code::Done)
}

fn wrong(message: &str) -> Failure {
    let (code, kind) = (Code::Failed, "arguments");
    Failure { code, kind, message: message.to_owned(), cures: Vec::new() }
}

impl From<cloud::Error> for Failure {
    fn from(error: cloud::Error) -> Failure {
        let (code, kind) = match error.fault {
            cloud::Fault::Denied { .. } => (Code::NotPermitted, "not_permitted"),
            cloud::Fault::Unreachable { .. } => (Code::Unreachable, "unreachable"),
            cloud::Fault::NoCredentials(_) => (Code::NotPermitted, "no_credentials"),
            _ => (Code::Failed, "aws"),
        };
        let cures = match kind {
            "no_credentials" => {
                vec!["Or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.".into()]
            }
            _ => Vec::new(),
        };
        Failure { code, kind, message: error.to_string(), cures }
    }
}
