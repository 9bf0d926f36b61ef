//! Power cuts in the middle of swaps, with a disk that forgets what was never flushed.
//!
//! One disk goes through all cuts, and each boot after a cut is also the start of the next swap, to
//! a release that has to be fetched: so a cut costs one boot.

use super::swaps::{app, serves};
use anyhow::{Context, Result, ensure};
use qemu_tests::guest::disk::Store;
use qemu_tests::guest::swap::{COMMITTED, Host};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{Boot, PATIENCE, image};
use qemu_tests::guests;
use qemu_tests::load::{self, Plan};
use qemu_tests::nbd::{Loss, Moment, Server};

const PORT: u16 = 8080;

/// The load after each cut: requests a second, for how many seconds at most, how many answers do.
const RATE: u32 = 15;
const SECONDS: u64 = 300;
const ANSWERS: u64 = 15;

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum When {
    /// When the swap has said that this step is done.
    Done(&'static str),
    /// When it has said that it is committed.
    Committed,
    /// At a flush of the disk, counted from the swap's request.
    Flush(Moment),
}

/// Every step of a swap, and flushes in the midst of what one step writes.
const CUTS: [(When, Loss); 12] = [
    (When::Done("plan"), Loss::All),
    (When::Flush(Moment::BeforeFlush(3)), Loss::Some { seed: 1 }),
    (When::Done("fetch"), Loss::All),
    (When::Flush(Moment::AfterFlush(8)), Loss::Some { seed: 2 }),
    (When::Done("start"), Loss::Some { seed: 3 }),
    (When::Done("gate"), Loss::All),
    (When::Done("switch"), Loss::All),
    (When::Flush(Moment::AfterFlush(16)), Loss::All),
    (When::Done("bake"), Loss::Some { seed: 4 }),
    (When::Done("drain"), Loss::All),
    (When::Committed, Loss::All),
    (When::Committed, Loss::Some { seed: 5 }),
];

/// A disk that goes through power cuts, and what is known of the app on it.
struct Ordeal {
    name: String,
    disk: Server,
    /// What served when the last swap began.
    from: String,
    /// Where it went; the same before the first.
    to: String,
    /// It had told its caller that it is committed.
    was_committed: bool,
}

impl Ordeal {
    fn new(name: &str) -> Result<Self> {
        let disk = Server::start(&guests::boot(name)?.image.disk())?;
        let v1 = "v1".to_owned();
        Ok(Self { name: name.to_owned(), disk, from: v1.clone(), to: v1, was_committed: false })
    }

    fn boot(&self) -> Result<Host> {
        Host::start(Boot { drive: Some(self.disk.address()), ..guests::boot(&self.name)? })
    }

    /// Begins a swap to `release` and has the power go in the middle.
    fn cut(&mut self, mut host: Host, release: &str, when: When, loss: Loss) -> Result<()> {
        let path = host.releases.path(release)?;
        if let When::Flush(moment) = when {
            self.disk.cut_at(moment);
        }
        // Outside of the test agent's cgroup, whose processes may only look; and the words go to
        // the console, where they are seen from here when they are said.
        host.shell(&format!(
            "echo 0 > /sys/fs/cgroup/cgroup.procs\n\
             rollinit swap web {path} --json < /dev/null > /dev/console 2>&1 &"
        ))?;
        let console = &host.guest.console;
        match when {
            When::Done(step) => {
                // Some steps have nothing to do and say so.
                let done =
                    ["ok", "skip"].map(|how| format!("\"step\":\"{step}\",\"state\":\"{how}\""));
                console.expect_any(&[&done[0], &done[1]], PATIENCE)?;
            }
            When::Committed => drop(console.expect(IS_COMMITTED, PATIENCE)?),
            When::Flush(_) => ensure!(self.disk.wait_for_cut(PATIENCE), "no such flush came"),
        }
        self.disk.cut();
        self.was_committed = console.so_far().contains(IS_COMMITTED);
        release.clone_into(&mut self.to);
        // The guest does not outlive its power.
        drop(host);
        self.disk.restore(loss)
    }

    /// What the disk holds: a store that Nix finds whole.
    fn inspect(&self) -> Result<()> {
        let copy = image::target().join("qemu").join(&self.name).join("disk.img");
        self.disk.save(&copy)?;
        Store::extract(&copy)?.verify()
    }

    /// After the boot: a whole version serves, the old or the new one, the new one if the swap had
    /// been called committed; the profile says the same; no swap hangs; nobody is refused.
    fn judge(&mut self, host: &mut Host) -> Result<()> {
        let ended = "for second in $(seq 60); do rollinit swaps web --json > /tmp/swaps; \
                     grep -q '\"outcome\":null' /tmp/swaps || break; sleep 1; done; cat /tmp/swaps";
        let swaps = host.shell(ended)?;
        ensure!(!swaps.contains("\"outcome\":null"), "a swap hangs: {swaps}");
        let view = View::settled(&mut host.guest.agent, PATIENCE)?;
        let closure = app(&view, "web")["serving"]["closure"].clone();
        let is_new = closure == host.releases.path(&self.to)?.as_str();
        ensure!(is_new || !self.was_committed, "it was committed, and is gone: {closure}");
        let release = if is_new { self.to.clone() } else { self.from.clone() };
        serves(host, "web", &release, release != "v1")?;
        let plan = Plan::new(host.guest.address(PORT)?, "after", RATE, SECONDS);
        let running = load::start(plan)?;
        ensure!(running.answered(ANSWERS, PATIENCE), "nobody answers");
        let report = running.stop();
        ensure!(report.failed == 0, "{report}");
        println!("    {} -> {}: {release} serves", self.from, self.to);
        self.from = release;
        Ok(())
    }

    /// One cut, and what is left of the machine after it.
    fn survive(&mut self, host: Host, release: &str, cut: (When, Loss)) -> Result<Host> {
        let (when, loss) = cut;
        let what = || format!("power cut at {when:?} of the swap to {release}, losing {loss:?}");
        self.cut(host, release, when, loss).with_context(what)?;
        self.inspect().with_context(what)?;
        let mut host = self.boot().with_context(what)?;
        self.judge(&mut host).with_context(what)?;
        Ok(host)
    }
}

const IS_COMMITTED: &str = "\"kind\":\"committed\"";

/// Proof: the power goes at every step of a swap and at flushes in between, the disk loses all that
/// was not flushed or a part of it, torn. After each: Nix finds the store whole, one whole version
/// serves, the one that the profile names, a swap that was called committed is, and none hangs. In
/// the end a swap goes through as ever.
pub fn survived(name: &str) -> Result<()> {
    let mut ordeal = Ordeal::new(name)?;
    let mut host = ordeal.boot()?;
    for (number, cut) in CUTS.into_iter().enumerate() {
        host = ordeal.survive(host, &format!("r{number}"), cut)?;
    }
    host.swap("web", "v2", &[])?.expect(COMMITTED)?;
    serves(&mut host, "web", "v2", true)
}

/// Swaps that are cut short until one is found to be lost: the file system flushes by itself every
/// few seconds, and may have done so just then.
const TRIES: usize = 4;

/// Proof that the proof is one: with an agent whose every sync is denied by the kernel, the same
/// ordeal is not survived.
pub fn forgetful(name: &str) -> Result<()> {
    let mut ordeal = Ordeal::new(name)?;
    let mut host = ordeal.boot()?;
    for number in 0..TRIES {
        let cut = (When::Committed, Loss::All);
        match ordeal.survive(host, &format!("r{number}"), cut) {
            Err(error) => {
                println!("    found out: {error:#}");
                return Ok(());
            }
            Ok(survivor) => host = survivor,
        }
    }
    anyhow::bail!("an agent that never syncs came through {TRIES} power cuts")
}
