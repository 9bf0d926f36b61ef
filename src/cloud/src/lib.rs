//! EC2 as a host sees it: the metadata service (IMDSv2 only), role credentials, and a dozen calls.
//!
//! Is: clients. May touch: the network, through the HTTP client it hires; the credentials file of
//! the person who runs a command. Never: decides what to do with an answer, keeps a secret on disk,
//! prints one, falls back to IMDSv1.
//!
//! [`Imds`] is the metadata service, [`Aws`] the rest. Both are handles: a clone costs nothing.
//! Making one asks nobody. Each call repeats what may pass; each error names the call as IAM does,
//! its object, and the cure.

pub mod auto_scaling;
mod aws;
mod credentials;
pub mod dynamodb;
pub mod ec2;
pub mod elb;
mod endpoint;
mod error;
mod http;
pub mod imds;
pub mod limits;
mod query;
pub mod retry;
pub mod s3;
mod secret;
mod sign;
pub mod ssm;
mod text;
pub mod time;

pub use aws::{Aws, Options};
pub use aws_credential_types::Credentials;
pub use credentials::Source;
pub use endpoint::{Endpoints, Service};
pub use error::{Error, Fault, Result};
pub use http::{KeptClient, Proxy};
pub use imds::Imds;
pub use secret::Secret;
