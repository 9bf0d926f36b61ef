//! The hosts of a cluster: a guest each, and what EC2 would tell it of itself.

use super::GROUP;
use super::network::{HOSTS_MAX, IMDS, cable};
use crate::aws::Moto;
use crate::guest::view::View;
use crate::guest::{Boot, Disk, Guest, PATIENCE};
use crate::guests;
use anyhow::{Context, Result, ensure};
use imds::Instance;
use std::path::{Path, PathBuf};

/// Memory of a host in MiB: the smallest that EC2 has is twice that.
const MEMORY_MIB: u32 = 256;

/// The same of one that starts by UEFI, whose firmware wants some for itself.
const FIRMWARE_MEMORY_MIB: u32 = 384;

/// One host.
#[derive(Debug)]
pub struct Host {
    /// Its number, from 1 on.
    pub number: u8,
    /// Its instance id, which is its name in the fleet.
    pub id: String,
    guest: Option<Guest>,
}

/// The instance ids of all hosts that there can be, where nobody plays EC2.
pub(super) fn ids() -> Vec<String> {
    (1..=HOSTS_MAX).map(|number| format!("i-{number:017x}")).collect()
}

/// Instances that EC2 knows, one for each host that there can be: their ids.
pub(super) fn launched(moto: &Moto) -> Result<Vec<String>> {
    let text = moto.python(&format!(
        "answer = client('ec2').run_instances(ImageId='ami-0123456789abcdef0', \
         InstanceType='t3.small', MinCount={HOSTS_MAX}, MaxCount={HOSTS_MAX})\n\
         print(json.dumps([one['InstanceId'] for one in answer['Instances']]))"
    ))?;
    serde_json::from_str(&text).with_context(|| format!("run_instances answered {text:?}"))
}

/// The file of the answers that host `number` gets.
pub(super) fn metadata_file(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("imds.{}.json", cable(number).address))
}

/// Serves the metadata of all hosts, each of which is told its own.
pub(super) fn metadata(folder: &Path, ids: &[String], ledger: &str) -> Result<imds::Server> {
    for (number, id) in (1..).zip(ids) {
        let user_data = format!("rollinit = 1\ngroup = '{GROUP}'\nledger = '{ledger}'\n");
        let instance = Instance {
            id: id.clone(),
            address: cable(number).address.to_string(),
            user_data: Some(user_data),
            ..Instance::default()
        };
        instance.state().save(&metadata_file(folder, number))?;
    }
    let others = folder.join("imds.json");
    Instance::default().state().save(&others)?;
    imds::listen((IMDS, 80).into(), &others).context("serve the metadata")
}

impl Host {
    /// Starts it; [`Host::settled`] waits for it.
    pub(super) fn boot(cluster: &str, number: u8, id: String, firmware: bool) -> Result<Self> {
        let mut boot = Boot::new(&format!("{cluster}/{number}"), guests::configuration(cluster)?)?;
        boot.disk = Disk::Nvme;
        boot.memory_mib = if firmware { FIRMWARE_MEMORY_MIB } else { MEMORY_MIB };
        (boot.firmware, boot.restarts) = (firmware, firmware);
        boot.cable = Some(cable(number));
        // TCG's own clock runs wrong while others have the processor.
        boot.words.push("clocksource=acpi_pm".to_owned());
        Ok(Self { number, id, guest: Some(boot.start()?) })
    }

    /// The guest.
    ///
    /// # Errors
    /// It was killed.
    pub fn guest(&mut self) -> Result<&mut Guest> {
        self.guest.as_mut().with_context(|| format!("host {} was killed", self.number))
    }

    /// Waits until everything in it runs.
    ///
    /// # Errors
    /// It does not; the text has the end of its console.
    pub fn settled(&mut self) -> Result<View> {
        let number = self.number;
        let guest = self.guest()?;
        let up = guest.agent.hello(PATIENCE);
        up.and_then(|()| View::settled(&mut guest.agent, PATIENCE)).with_context(|| {
            let console = guest.console.so_far();
            let start = console.lines().count().saturating_sub(30);
            let tail: Vec<&str> = console.lines().skip(start).collect();
            format!("host {number} does not come up; its console says:\n{}", tail.join("\n"))
        })
    }

    /// Runs a shell line in it, which must succeed; what it printed.
    ///
    /// # Errors
    /// It does not.
    pub fn shell(&mut self, line: &str) -> Result<String> {
        const SHELL: &str = "/run/current-system/sw/bin/sh";
        let line = format!("export PATH=/run/current-system/sw/bin; {line}");
        let output = self.guest()?.agent.run(&[SHELL, "-euc", &line])?;
        ensure!(output.code == Some(0), "on host {}: {line}: {output:?}", self.number);
        Ok(output.stdout)
    }

    /// Ends QEMU as `kill -9` does: nothing in it gets to know.
    pub fn kill(&mut self) {
        self.guest = None;
    }

    /// Whether it was not killed.
    #[must_use]
    pub const fn lives(&self) -> bool {
        self.guest.is_some()
    }
}
