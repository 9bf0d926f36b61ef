//! Three hosts and more: releases that go over a cluster, under load.
//!
//! The load goes through HAProxy, which hides nothing (`qemu_tests::cluster::haproxy`).

use anyhow::{Result, ensure};
use qemu_tests::cluster::{self, Cluster, FRONTS, Options};
use qemu_tests::guest::PATIENCE;

/// Answers before, after and between what is done.
const ANSWERS: u64 = 30;

/// Proof: …
pub fn rolls(name: &str) -> Result<()> {
    cluster::within(|| {
        let cluster = Cluster::start(name, Options { hosts: 3, etcd: 1, aws: false })?;
        for front in FRONTS {
            let running = cluster.load(front)?;
            ensure!(running.answered(ANSWERS, PATIENCE), "{} does not answer", front.app);
            let report = running.stop();
            ensure!(report.failed == 0, "{report}");
        }
        Ok(())
    })
}
