//! Credentials on a host as on EC2: its own network, role and agent, and the file system of
//! secrets that PID 1 mounts.

use anyhow::{Context, Result, ensure};
use qemu_tests::aws::Moto;
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, Guest, PATIENCE, network};
use qemu_tests::guests;
use serde_json::Value;
use std::time::Instant;

/// Programs of the guest.
const BIN: &str = "/run/current-system/sw/bin";

const FIRST: &str = "s3cr3t-first-4417";
const SECOND: &str = "s3cr3t-second-0862";

/// Notes its secret when it starts and at each SIGHUP.
const DEFINITION: &str = r#"
[service]
exec = ["/run/current-system/sw/bin/sh", "-c", "note() { cat $CREDENTIALS_DIRECTORY/database >> /dev/shm/notes; echo >> /dev/shm/notes; }; trap note HUP; note; while :; do sleep 1000 & wait; done"]
user = "4242"
group = "4242"
[service.credentials]
database = { ssm = "/shop/database", on-change = "signal" }
"#;

/// Proof: network and clock are up; a service that a reload brings waits until its SecureString was fetched by the role that
/// the metadata service lends; the file is on a ramfs that no program is run from, 0400, of the
/// service's user. A new value is there with a signal, in the same run. What brings secrets may
/// not be swapped out, and neither console nor kernel log has one.
pub fn delivered(name: &str) -> Result<()> {
    let moto = Moto::start()?;
    put(&moto, FIRST)?;
    let scene = tempfile::tempdir().context("a folder")?;
    let state = scene.path().join("imds.json");
    imds::Instance::default().state().save(&state)?;
    let mut boot = guests::boot(name)?;
    boot.ec2 = Some(network::Ec2 { imds: state, aws: Some(moto.address()) });
    let mut guest = boot.start()?;
    guest.agent.hello(PATIENCE)?;
    let folder = "/run/rollinit/services";
    let script = format!("mkdir -p {folder} && printf %s \"$1\" > {folder}/keeper.toml");
    done(&mut guest, &["sh", "-c", &script, "sh", DEFINITION])?;
    guest.agent.rollinit(&["reload"])?;
    let names = ["keeper", "chrony", "network-online"];
    let running = |view: &View| names.iter().all(|name| view.service(name)["state"] == "running");
    let view = View::until(&mut guest.agent, PATIENCE, running)?;
    noted(&mut guest, &[FIRST])?;
    is_out_of_reach(&mut guest)?;
    put(&moto, SECOND)?;
    noted(&mut guest, &[FIRST, SECOND])?;
    let after = View::take(&mut guest.agent)?;
    ensure!(run_of(&after) == run_of(&view), "it was started again: {:#}", after.0);

    let console = guest.console.so_far();
    let log = done(&mut guest, &["dmesg"])?;
    for secret in [FIRST, SECOND] {
        ensure!(!console.contains(secret) && !log.contains(secret), "{secret} was said");
    }
    ensure!(!log.contains("is no ramfs"), "{log}");
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

fn put(moto: &Moto, value: &str) -> Result<()> {
    let script = format!(
        "client('ssm').put_parameter(Name='/shop/database', Value={value:?}, \
         Type='SecureString', Overwrite=True)"
    );
    moto.python(&script).map(drop)
}

fn run_of(view: &View) -> Value {
    view.service("keeper")["incarnation"].clone()
}

/// What a program of the guest prints; it must succeed.
fn done(guest: &mut Guest, words: &[&str]) -> Result<String> {
    let program = format!("{BIN}/{}", words[0]);
    let words: Vec<&str> = std::iter::once(&*program).chain(words[1..].iter().copied()).collect();
    let output = guest.agent.run(&words)?;
    ensure!(output.code == Some(0), "{words:?}: {output:?}");
    Ok(output.stdout)
}

fn noted(guest: &mut Guest, secrets: &[&str]) -> Result<()> {
    let expected: String = secrets.iter().map(|secret| format!("{secret}\n")).collect();
    let give_up = Instant::now() + PATIENCE;
    loop {
        // Each question is a whole command in the guest, which paces it.
        let notes = guest.agent.run(&[&format!("{BIN}/cat"), "/dev/shm/notes"])?.stdout;
        if notes == expected {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "it noted {notes:?}, not {expected:?}");
    }
}

/// The mount, the file, and who may be swapped out.
fn is_out_of_reach(guest: &mut Guest) -> Result<()> {
    let mounts = guest.agent.read("/proc/mounts")?;
    let line = mounts.lines().find(|line| line.contains("/run/rollinit/credentials"));
    let line = line.with_context(|| format!("no mount for credentials:\n{mounts}"))?;
    for word in [" ramfs ", "nosuid", "nodev", "noexec"] {
        ensure!(line.contains(word), "{line}");
    }
    let root = "/run/rollinit/credentials";
    for (path, expected) in [
        (root.to_owned(), "711 0 0"),
        (format!("{root}/keeper"), "750 0 4242"),
        (format!("{root}/keeper/database"), "400 4242 4242"),
    ] {
        let found = done(guest, &["stat", "-c", "%a %u %g", &path])?;
        ensure!(found.trim() == expected, "{path} is {found}");
    }
    for group in ["services/rollinit-agent.0", "rollinit/supervisor"] {
        let found = guest.agent.read(&format!("/sys/fs/cgroup/{group}/memory.swap.max"))?;
        ensure!(found.trim() == "0", "{group} may swap out {found}");
    }
    Ok(())
}
