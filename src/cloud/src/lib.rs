//! EC2 as a host sees it: the metadata service (IMDSv2 only), role credentials, and a dozen calls.
//!
//! Is: clients. May touch: the network, through the HTTP client it hires. Never: decides what to do
//! with an answer, keeps a secret on disk, prints one, falls back to IMDSv1.
