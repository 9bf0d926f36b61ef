//! What travels: the replies of `io.rollinit.Agent`.
//!
//! Times of day are milliseconds since 1970, by the host's clock: they outlive a boot.

use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// A closure of an app, as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Release {
    /// The name part of its store path: storefront-1.9.3.
    pub name: String,
    /// Its store path.
    pub path: String,
    /// Its generation; of one that is not committed the number it is going to have.
    pub generation: Option<u64>,
}

impl Release {
    /// The release at `path`, named by what follows the hash.
    #[must_use]
    pub fn of_path(path: &str, generation: Option<u64>) -> Release {
        let base = path.rsplit('/').next().unwrap_or(path);
        let name = base.split_once('-').map_or(base, |(_, name)| name);
        Release { name: name.to_owned(), path: path.to_owned(), generation }
    }
}

/// A step of a swap, in the order in which they come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, CustomType,
)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Step {
    /// What is missing, how much that is, and whether there is room.
    Plan,
    /// The missing paths are brought and registered.
    Fetch,
    /// Of the system: kernel, initramfs and entry are written to the boot partition.
    Write,
    /// Of the system: /etc, accounts and services become the new ones, without a reboot.
    Activate,
    /// Of the system: the host boots the new generation.
    Reboot,
    /// Of the system: it has come up, and the boot loader is told to stay with it.
    Bless,
    /// The app's own migration.
    Migrate,
    /// The candidate is started.
    Start,
    /// The candidate is asked whether it is healthy.
    Gate,
    /// New connections move.
    Switch,
    /// The app's own look at itself after the switch.
    Hook,
    /// The candidate has to stay healthy beside the previous side.
    Bake,
    /// The previous side finishes what it has.
    Drain,
    /// The profile's link moves.
    Commit,
    /// The new generation has to stay healthy alone.
    Watch,
    /// The way back.
    Rollback,
}

impl Step {
    /// The word for it, as in JSON and on the screen; at most eight letters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Step::Plan => "plan",
            Step::Fetch => "fetch",
            Step::Write => "write",
            Step::Activate => "activate",
            Step::Reboot => "reboot",
            Step::Bless => "bless",
            Step::Migrate => "migrate",
            Step::Start => "start",
            Step::Gate => "gate",
            Step::Switch => "switch",
            Step::Hook => "hook",
            Step::Bake => "bake",
            Step::Drain => "drain",
            Step::Commit => "commit",
            Step::Watch => "watch",
            Step::Rollback => "rollback",
        }
    }
}

/// How a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum StepState {
    /// It is still to come.
    Pending,
    /// It is being done.
    Running,
    /// It is done.
    Ok,
    /// It was not needed; the text says why.
    Skip,
    /// It failed; the text says why.
    Failed,
}

impl StepState {
    /// It will not change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, StepState::Ok | StepState::Skip | StepState::Failed)
    }
}

/// One step of one swap as it is now, and with the last one how the swap ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Progress {
    /// The swap's id; empty for a call that was over before it became one (refused, dry run,
    /// nothing to do).
    pub swap: String,
    /// The app.
    pub app: String,
    /// What served when it began; none on the app's first.
    pub from: Option<Release>,
    /// What it is to be swapped for.
    pub to: Release,
    /// The step.
    pub step: Step,
    /// How that is.
    pub state: StepState,
    /// The whole of it, for a person: one line.
    pub text: String,
    /// How long the step took, or has taken so far; milliseconds.
    pub elapsed_ms: u64,
    /// Bytes brought so far, while fetching.
    pub bytes_done: Option<u64>,
    /// Bytes to bring.
    pub bytes_total: Option<u64>,
    /// Paths brought so far, while fetching.
    pub paths_done: Option<u64>,
    /// Paths to bring.
    pub paths_total: Option<u64>,
    /// How the swap ended; only in the last one.
    pub outcome: Option<Outcome>,
}

/// Reply of `Swap`, `Rollback` and `Follow`, one of several with `more`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct SwapReply {
    /// What changed.
    pub progress: Progress,
}

/// How a swap ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Outcome {
    /// In one word.
    pub kind: OutcomeKind,
    /// What serves now; none if nothing does.
    pub serving: Option<Release>,
    /// The step that failed.
    pub failed_at: Option<Step>,
    /// Why, for a person: one line.
    pub reason: Option<String>,
    /// More about it, a line each: how often it was tried, whether users ever reached it.
    pub details: Vec<String>,
    /// What to do about it, a line each, beyond looking at the logs and trying again.
    pub cures: Vec<String>,
}

/// How a swap ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The new release serves and is the app's generation.
    Committed,
    /// The previous release serves.
    RolledBack,
    /// The way back failed too: the host needs a person.
    FailedBack,
    /// It was refused before anything was touched, or the host's own fault kept it from going on.
    Refused,
    /// What was asked for serves already.
    NothingToDo,
    /// Another swap of the app took its place.
    Superseded,
    /// A dry run: it could be done, and nothing was.
    Planned,
    /// Of the system: the host reboots into it now; how that ends is told under the same id after
    /// the boot.
    Rebooting,
}

impl OutcomeKind {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            OutcomeKind::Committed => "committed",
            OutcomeKind::RolledBack => "rolled_back",
            OutcomeKind::FailedBack => "failed_back",
            OutcomeKind::Refused => "refused",
            OutcomeKind::NothingToDo => "nothing_to_do",
            OutcomeKind::Superseded => "superseded",
            OutcomeKind::Planned => "planned",
            OutcomeKind::Rebooting => "rebooting",
        }
    }
}

/// Reply of `Generations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct GenerationList {
    /// Oldest first.
    pub generations: Vec<Generation>,
}

/// A numbered link of an app's profile; the number is never used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Generation {
    /// The number.
    pub number: u64,
    /// The name part of its store path.
    pub name: String,
    /// Its store path.
    pub path: String,
    /// When it was committed; milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// The profile points to it: it serves, and a boot starts it.
    pub current: bool,
    /// `rollinit rollback` goes back to it.
    pub previous: bool,
    /// Why its path is refused without force, if it failed.
    pub failed: Option<String>,
}

/// Reply of `Swaps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct SwapList {
    /// Newest first; those under way have no outcome.
    pub swaps: Vec<SwapSummary>,
}

/// A swap of the past, or the one under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct SwapSummary {
    /// Its id.
    pub swap: String,
    /// The app.
    pub app: String,
    /// What served when it began.
    pub from: Option<Release>,
    /// What it was to be swapped for.
    pub to: Release,
    /// When it began; milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// The step it is at, or ended at.
    pub step: Step,
    /// That step in a line.
    pub text: String,
    /// It is undone unless it is confirmed by then; milliseconds since 1970.
    pub confirm_by_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// Whether a swap of the system may reboot the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Reboot {
    /// If kernel, initramfs, kernel parameters or PID 1 are others.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// Not now: the next boot, whenever it comes, is the try.
    Never,
}

/// Reply of `Standing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct NoticeList {
    /// The worst first.
    pub notices: Vec<Notice>,
}

/// Something about this host that holds until it is cleared: a system on trial, user-data that
/// cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Notice {
    /// What it is about: system, user-data, the name of a volume. At most one notice each.
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What holds, in one line for a person.
    pub text: String,
    /// What to do about it; none if nothing has to be done.
    pub cure: Option<String>,
    /// Since when; milliseconds since 1970.
    pub since_ms: u64,
}

/// How bad a notice is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, CustomType,
)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Level {
    /// Something is under way.
    Information,
    /// It works, and somebody should know.
    Warning,
    /// Somebody must do something.
    Error,
}

impl Level {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Information => "information",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}
