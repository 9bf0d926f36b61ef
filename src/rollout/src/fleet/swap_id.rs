//! What swaps of a fleet are called: `ROLLOUT-FENCE`, `catch-up-FENCE`, `install-TIME-NUMBER`.
//!
//! A swap's id says what it goes under, so an agent that is started in the middle of one knows it
//! from the journal alone.

use super::group::Holder;
use super::limits::ROLLOUT_ID_BYTES_MAX;

/// The begin of a first release's id.
const INSTALL: &str = "install";

/// The begin of the id of a host that catches up with what is blessed.
const CATCH_UP: &str = "catch-up";

/// The end of the id of a way back.
const BACK: &str = "-back";

/// What a swap goes under, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapId {
    /// A slot of this number.
    Slot {
        /// The slot's number.
        fence: u64,
    },
    /// None: the first release of a host that serves nobody yet.
    Install,
    /// A way back, which always may.
    Back,
    /// Somebody began it by hand.
    Hand,
}

impl SwapId {
    /// Reads an id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        if id.ends_with(BACK) {
            return Self::Back;
        }
        let fence = id.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        match fence {
            Some(_) if id.starts_with(INSTALL) => Self::Install,
            Some(fence) => Self::Slot { fence },
            None => Self::Hand,
        }
    }

    /// The id of the swap that goes under a slot.
    #[must_use]
    pub fn of_slot(slot: &Holder) -> String {
        let kind = if slot.rollout.is_empty() { CATCH_UP } else { &slot.rollout };
        format!("{kind}-{}", slot.fence)
    }

    /// The id of a first release's swap.
    #[must_use]
    pub fn of_install(wall_ms: u64, number: u64) -> String {
        format!("{INSTALL}-{wall_ms}-{number}")
    }
}

/// Whether a rollout may be called so: its swaps' ids must stay ids to the supervisor, and be told
/// from the others.
pub(super) fn names_rollout(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=ROLLOUT_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(fits)
        && !id.starts_with(INSTALL)
        && !id.starts_with(CATCH_UP)
        && !id.ends_with(BACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(rollout: &str, fence: u64) -> Holder {
        Holder {
            host: "i-1".to_owned(),
            fence,
            app: "web".to_owned(),
            path: "/nix/store/x".to_owned(),
            rollout: rollout.to_owned(),
            since_ms: 0,
            leaves: false,
        }
    }

    /// Each id is read back as what it was made for, also the longest one, and its way back.
    #[test]
    fn ids_say_what_they_go_under() {
        /// What the supervisor takes: `service::limits::SWAP_ID_BYTES_MAX`.
        const ID_BYTES_MAX: usize = 32;
        let longest = "release-1732200000";
        assert_eq!(longest.len(), ROLLOUT_ID_BYTES_MAX);
        for rollout in [longest, "r1", ""] {
            let id = SwapId::of_slot(&slot(rollout, 9_999_999));
            assert_eq!(SwapId::of(&id), SwapId::Slot { fence: 9_999_999 });
            let back = format!("{id}{BACK}");
            assert!(back.len() <= ID_BYTES_MAX, "{back}");
            assert_eq!(SwapId::of(&back), SwapId::Back);
        }
        let install = SwapId::of_install(1_795_000_000_000, 99);
        assert!(install.len() + BACK.len() <= ID_BYTES_MAX);
        assert_eq!(SwapId::of(&install), SwapId::Install);
        for by_hand in ["7QX2", "0000", ""] {
            assert_eq!(SwapId::of(by_hand), SwapId::Hand);
        }
    }

    #[test]
    fn a_rollout_is_not_called_like_another_thing() {
        assert!(names_rollout("r1") && names_rollout("release-1732200000"));
        for wrong in ["", "install-7", "catch-up", "a-back", "a_b", "a.b", &"x".repeat(19)] {
            assert!(!names_rollout(wrong), "{wrong}");
        }
    }
}
