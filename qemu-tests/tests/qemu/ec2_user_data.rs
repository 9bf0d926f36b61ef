//! Zero touch on a host as on EC2: its image knows no app, no cache and no key.

use anyhow::{Context, Result, ensure};
use imds::{Instance, State};
use qemu_tests::aws::Moto;
use qemu_tests::guest::swap::Releases;
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, PATIENCE, image, network};
use qemu_tests::guests;
use qemu_tests::load::request::Kind;
use qemu_tests::load::{self, Plan};

/// Where the app serves.
const WEB: u16 = 8080;

/// Requests a second, and for how many seconds at most.
const RATE: u32 = 5;
const SECONDS: u64 = 600;

/// Proof: an instance without user-data says so on its serial console and stays up. The first
/// document has a key in it: it is refused there with the cure, and the console never shows the
/// key. The second names a release in a bucket; with nothing else done the host asks S3 by its
/// role, fetches from a cache that its image did not know, and answers users. After a reboot it
/// serves the same.
pub fn becomes(name: &str) -> Result<()> {
    let moto = Moto::start()?;
    let releases = Releases::open()?;
    let cache = releases.serve()?;
    let release = format!("path = '{}'\n", releases.path("v1")?);
    let put = format!(
        "s3 = client('s3'); s3.create_bucket(Bucket='releases', \
         CreateBucketConfiguration={{'LocationConstraint': 'eu-central-1'}}); \
         s3.put_object(Bucket='releases', Key='web.toml', Body={release:?})"
    );
    moto.python(&put)?;
    let mut boot = guests::boot(name)?;
    let imds = guests::on_ec2(&mut boot, &Instance::default(), Some(moto.address()))?;
    boot.cache = Some(cache.address());
    boot.restarts = true;
    let mut guest = boot.start()?;
    guest.console.expect("user-data: there is none", PATIENCE)?;

    let key = format!("AKIA{}", "Q".repeat(16));
    let give = |text: &str| State::load(&imds, None)?.set("user-data", text).save(&imds);
    give(&format!("rollinit = 1\nenvironment = {{ A = '{key}' }}\n"))?;
    guest.console.expect("looks like an access key of AWS", PATIENCE)?;
    give(&document()?)?;
    let plan = Plan::new(guest.address(WEB)?, "users", RATE, SECONDS).patient();
    let users = load::start(Plan { mix: vec![Kind::GetNew], ..plan })?;
    ensure!(users.answered(1, PATIENCE), "it never serves");
    drop(users.stop());
    guest.console.expect("user-data: web runs", PATIENCE)?;
    guest.agent.hello(PATIENCE)?;
    let view = View::settled(&mut guest.agent, PATIENCE)?;
    ensure!(view.service("web")["state"] == "running", "{:#}", view.0);

    guest.agent.rollinit_last(&["reboot"])?;
    guest.console.expect("web has a generation and keeps", PATIENCE)?;
    guest.agent.hello(PATIENCE)?;
    let view = View::settled(&mut guest.agent, PATIENCE)?;
    ensure!(view.service("web")["state"] == "running", "{:#}", view.0);
    let console = guest.console.so_far();
    ensure!(!console.contains(&key), "the key was said");
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// Proof: an instance whose user-data names a system that its image does not have fetches it from a
/// cache that its image did not know, writes it into a boot slot and reboots through firmware and
/// loader; the kernel's own words say that it runs, and its entry loses the counter. It reads the
/// same document and stays what it is.
pub fn becomes_a_system(name: &str) -> Result<()> {
    let releases = Releases::open()?;
    let cache = releases.serve()?;
    let system = releases.path("system")?;
    let mut boot = guests::boot(name)?;
    ensure!(boot.image.toplevel()? != system, "the image is that system already");
    let imds = guests::on_ec2(&mut boot, &Instance::default(), None)?;
    let text = format!("{}system = '{system}'\n", trust()?);
    State::load(&imds, None)?.set("user-data", text.as_str()).save(&imds)?;
    boot.cache = Some(cache.address());
    let mut guest = boot.start()?;
    guest.console.expect(&format!("reboots to become {system}"), PATIENCE)?;
    guest.console.expect("system is on gen 2", PATIENCE)?;
    guest.console.expect(&format!("user-data: system runs {system}"), PATIENCE)?;
    guest.agent.hello(PATIENCE)?;
    let words = guest.agent.read("/proc/cmdline")?;
    let named = format!("init={system}/init");
    ensure!(words.split_whitespace().any(|word| word == named), "no {named} in {words}");
    ensure!(guest.agent.read("/proc/sys/kernel/hostname")?.trim() == "became", "its /etc is not");
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// The tests' cache, which no image knows, and its key.
fn trust() -> Result<String> {
    let key = std::fs::read_to_string(image::target().join("cache/key.public"))
        .context("read the cache's public key")?;
    let (cache, key) = (network::CACHE_ON_EC2, key.trim());
    Ok(format!("rollinit = 1\ncaches = ['http://{cache}']\nkeys = ['{key}']\n"))
}

fn document() -> Result<String> {
    Ok(format!(
        "{trust}\
         [apps.web]\n\
         release = 's3://releases/web.toml'\n\
         [apps.web.definition]\n\
         user = 'nobody'\n\
         listen.http = '0.0.0.0:{WEB}'\n\
         health.http = {{ path = '/up', every = '250ms', passes = 2, deadline = '60s' }}\n\
         swap = {{ bake = '0s', watch = '0s', drain = '5s' }}\n",
        trust = trust()?,
    ))
}
