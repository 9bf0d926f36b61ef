//! The instance that this host is: its metadata service, and AWS as its role may use it.
//!
//! There is one of these if `agent.toml` has a `[cloud]` section. Making it asks nobody.

use crate::app::Tools;
use crate::config::cloud::{Cloud, Notices};
use control::agent::Level;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;

/// The subject under which credentials are told of in `rollinit status`.
const SUBJECT: &str = "credentials";

/// Until credentials that could not be had are asked for again.
const AGAIN: Duration = Duration::from_secs(30);

/// The instance.
#[derive(Clone, Debug)]
pub struct Ec2 {
    /// The metadata service.
    pub imds: cloud::Imds,
    /// AWS. Region and credentials come from the metadata service, at the first call.
    pub aws: cloud::Aws,
    /// What is done about notices.
    pub notices: Notices,
}

impl Ec2 {
    /// As `[cloud]` says.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(settings: &Cloud) -> cloud::Result<Self> {
        let options = match &settings.metadata {
            Some(endpoint) => cloud::imds::Options::at(endpoint),
            None => cloud::imds::Options::from_environment(),
        };
        let imds = cloud::Imds::new(options)?;
        let options = cloud::Options {
            region: settings.region.clone(),
            endpoints: settings.endpoints.clone(),
            proxy: settings.proxy.clone(),
            ..cloud::Options::default()
        };
        let aws = cloud::Aws::new(options, imds.clone());
        Ok(Self { imds, aws, notices: settings.notices })
    }
}

/// All that goes on as long as the agent runs.
pub async fn run(ec2: Ec2, tools: Rc<Tools>) {
    keep_credentials(&ec2, &tools).await;
}

/// Has the role's credentials at hand before anybody needs them, and fresh ones ever after: a
/// metadata service that goes away later takes nothing with it for hours.
async fn keep_credentials(ec2: &Ec2, tools: &Tools) {
    loop {
        let pause = match ec2.aws.renew_credentials().await {
            Ok(None) => return,
            Ok(Some(due)) => {
                tools.standing.clear(SUBJECT);
                due
            }
            Err(error) => {
                let (level, text) = match &error.fault {
                    // Said once and no trouble: many hosts need nothing of AWS.
                    cloud::Fault::NoCredentials(why) => (Level::Information, why.clone()),
                    _ => (Level::Warning, error.to_string()),
                };
                let cure = "calls of AWS fail until it has; asked again every 30 s";
                tools.standing.set(&tools.console, SUBJECT, level, &text, Some(cure));
                AGAIN
            }
        };
        sleep(pause.max(Duration::from_secs(1))).await;
    }
}
