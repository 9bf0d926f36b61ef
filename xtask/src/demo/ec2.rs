//! `cargo xtask demo ec2`: a host on EC2, from firmware to power-off. Nobody touches it: an image
//! that knows nothing of an app, user-data that names one, and a notice in the end. About a minute.

use super::{ANSWERS, RATE, SECONDS, Table, WEB, begin, finish};
use crate::workspace::step;
use crate::{build, image, setup};
use anyhow::{Context, Result, ensure};
use imds::{Instance, State, rfc3339};
use qemu_tests::guest::swap::{COMMITTED, Host, Releases};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{Boot, End, PATIENCE, disk};
use qemu_tests::load::request::Kind;
use qemu_tests::load::{self, Plan};
use qemu_tests::{guest, guests};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The guest's name: its files are in `target/qemu/demo-ec2`.
const NAME: &str = "demo-ec2";

/// The disk that the image is copied to, in MiB; the root grows to it.
const DISK_MIB: u64 = 1024;

/// What of it the root must have in the end: the rest is the ESP and the file system's own.
const ROOT_MIB_MIN: u64 = 600;

/// Bytes of a MiB.
const MIB_BYTES: u64 = 1 << 20;

/// EC2 announces the end of a spot instance this long before it.
const SPOT_NOTICE: Duration = Duration::from_secs(120);

/// Paths of a closure in the table.
const LARGEST: usize = 10;

/// Runs the demo; `json` prints the closing tables as JSON.
///
/// # Errors
/// A claim did not hold, or something could not be built or booted.
pub fn run(root: &Path, json: bool) -> Result<()> {
    setup::run_setup()?;
    build::run_build(root)?;
    let folder = image::build(root, guests::configuration(NAME)?)?;
    image::build_releases(root)?;
    let start = Instant::now();
    let mut table = Table::default();
    step("what is in the image", || sizes(&folder, &mut table))?;
    let (mut host, imds) =
        step("an instance: UEFI, user-data, the first answer", || boot(&mut table))?;
    let log = host.guest.serial_log.clone();
    let result = parts(&mut host, &imds, &mut table);
    drop(host);
    finish(&table, json, start, &log)?;
    result?;
    ensure!(table.rows.iter().all(|row| row.holds), "a claim did not hold");
    Ok(())
}

/// What an app is and where it comes from: all that the instance is told.
fn user_data(releases: &Releases) -> Result<String> {
    let key = std::fs::read_to_string(guest::image::target().join("cache/key.public"))
        .context("read the cache's public key")?;
    Ok(format!(
        "rollinit = 1\n\
         caches = ['http://{cache}']\n\
         keys = ['{key}']\n\
         [apps.web]\n\
         path = '{path}'\n\
         [apps.web.definition]\n\
         user = 'nobody'\n\
         listen.http = '0.0.0.0:{WEB}'\n\
         health.http = {{ path = '/up', every = '250ms', passes = 3, deadline = '60s' }}\n\
         swap = {{ strategy = 'overlap', bake = '1s', watch = '0s', drain = '10s' }}\n",
        cache = guest::network::CACHE_ON_EC2,
        key = key.trim(),
        path = releases.path("v1")?,
    ))
}

fn boot(table: &mut Table) -> Result<(Host, PathBuf)> {
    let releases = Releases::open()?;
    let cache = releases.serve()?;
    let mut boot: Boot = guests::boot(NAME)?;
    let instance = Instance { user_data: Some(user_data(&releases)?), ..Instance::default() };
    let imds = guests::on_ec2(&mut boot, &instance, None)?;
    boot.cache = Some(cache.address());
    let disk = disk::copy(NAME, &boot.image.disk())?;
    let file = std::fs::OpenOptions::new().write(true).open(&disk).context("open the disk")?;
    file.set_len(DISK_MIB * MIB_BYTES).context("enlarge the disk")?;
    boot.drive = Some(disk.display().to_string());

    let start = Instant::now();
    let mut guest = boot.start()?;
    let plan = Plan::new(guest.address(WEB)?, "first", RATE, SECONDS).patient();
    let knocking = load::start(Plan { mix: vec![Kind::GetNew], ..plan })?;
    let answered = knocking.answered(1, PATIENCE);
    let seen = format!("{:.1} s", start.elapsed().as_secs_f64());
    drop(knocking.stop());
    table.add("firmware to the first answer, untouched", answered, seen);
    guest.agent.hello(PATIENCE)?;
    View::settled(&mut guest.agent, PATIENCE)?;
    println!("\n{}", guest.agent.rollinit(&["status"])?);
    println!("{}", guest.agent.rollinit(&["analyze"])?);
    Ok((Host { guest, cache, releases }, imds))
}

fn parts(host: &mut Host, imds: &Path, table: &mut Table) -> Result<()> {
    let console = host.guest.console.so_far();
    let by_firmware = console.contains("EFI stub");
    table.add("started by UEFI, from NVMe", by_firmware, "systemd-boot, EFI stub");
    let text = host.shell("df -m / | awk 'NR == 2 { print $2 }'")?;
    let root_mib: u64 = text.trim().parse().with_context(|| format!("df printed {text:?}"))?;
    table.add("the root grew with the disk", root_mib >= ROOT_MIB_MIN, format!("{root_mib} MiB"));
    guarded(host, table)?;

    let web = begin(host, "web", WEB, &Kind::ALL)?;
    step("v2, fetched, gated, switched, under load", || {
        let swapped = host.swap("web", "v2", &[])?;
        table.swap("web: v1 -> v2 by overlap", COMMITTED, &swapped);
        Ok(())
    })?;
    ensure!(web.answered(ANSWERS, PATIENCE), "web does not answer after the swap");
    let report = web.stop();
    let seen = format!("{} sent, {} failed", report.sent, report.failed);
    table.add("web: no request failed", report.failed == 0, seen);
    step("a spot notice", || notice(host, imds, table))
}

/// The metadata service answers root, without a token by 401; nobody else gets that far.
fn guarded(host: &mut Host, table: &mut Table) -> Result<()> {
    // Of the test's programs: busybox, static, cannot even make an address of these numbers.
    const ASK: &str = "printf \"GET /latest/ HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n\" | \
                       /nix/store/*-rollinit-test-apps/bin/rollinit-testapp stdio \
                       169.254.169.254:80 2>&1 || true";
    let first_line = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
    let root = first_line(&host.shell(ASK)?);
    let sh = "/run/current-system/sw/bin/sh";
    let nobody = first_line(&host.shell(&format!("su -s {sh} nobody -c '{ASK}'"))?);
    // The guard's route answers so; a service that is not there would time out or refuse.
    let refused = nobody.contains("Permission denied");
    let reason = nobody.rsplit(": ").next().unwrap_or(&nobody);
    let seen = format!("root: {root}; nobody: {reason}");
    table.add("others than root do not reach the metadata", root.contains("401") && refused, seen);
    Ok(())
}

/// EC2 wants the instance back: it goes by itself, in time.
fn notice(host: &mut Host, imds: &Path, table: &mut Table) -> Result<()> {
    let mut state = State::load(imds, None)?;
    let at = rfc3339(SystemTime::now() + SPOT_NOTICE);
    let action = format!("{{\"action\": \"terminate\", \"time\": \"{at}\"}}");
    state.set("meta-data/spot/instance-action", action).save(imds)?;
    let start = Instant::now();
    let end = host.guest.ended(SPOT_NOTICE)?;
    let seen = format!("{end:?} after {:.0} s of 120", start.elapsed().as_secs_f64());
    table.add("a spot notice: drained and off in time", end == End::PowerOff, seen);
    Ok(())
}

/// The image's size, that of its closure, and who it is made of.
fn sizes(folder: &Path, table: &mut Table) -> Result<()> {
    let closure = std::fs::read_to_string(folder.join("closure")).context("read the closure")?;
    let paths: Vec<(u64, &str)> = closure
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(bytes, path)| Some((bytes.parse().ok()?, path)))
        .collect();
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB_BYTES as f64);
    let disk = std::fs::metadata(folder.join("image")).context("look at the image")?;
    // A block of stat(2) has 512 bytes, whatever the file system's.
    let held = mib(disk.blocks() * 512);
    let total: u64 = paths.iter().map(|(bytes, _)| bytes).sum();
    let seen = format!("{}, of it {held} not empty; closure {}", mib(disk.len()), mib(total));
    table.add("the image", total > 0, seen);
    println!("\nThe largest of {} paths:", paths.len());
    for (bytes, path) in paths.iter().take(LARGEST) {
        println!("  {:>10}  {}", mib(*bytes), path.get(44..).unwrap_or(path));
    }
    let unwanted = ["systemd", "perl", "bash"];
    let names = paths.iter().filter_map(|(_, path)| path.get(44..));
    let found: Vec<&str> =
        names.filter(|name| unwanted.iter().any(|one| name.starts_with(one))).collect();
    table.add("no systemd, Perl or bash in it", found.is_empty(), found.join(" "));
    Ok(())
}
