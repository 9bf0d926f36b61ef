//! The end of the machine.

use super::Machine;
use crate::effect::Effect;
use crate::event::PowerKind;
use crate::limits::{SHUTDOWN_TIMEOUT_MS, SHUTDOWN_WITHIN_MAX_MS};
use crate::record::What;
use crate::view::PowerView;
use serde::{Deserialize, Serialize};

/// A power request under way; kept under [`SUPERVISOR_KEY`](super::SUPERVISOR_KEY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Power {
    pub kind: PowerKind,
    /// When PID 1 takes over at the latest.
    pub deadline_ns: u64,
    /// PID 1 was told to take over.
    pub handed_over: bool,
}

impl Machine {
    /// The end of the machine, if it is under way.
    #[must_use]
    pub fn power(&self) -> Option<PowerView> {
        let Power { kind, deadline_ns, handed_over } = self.power?;
        Some(PowerView { kind, deadline_ns, handed_over })
    }

    /// The first request counts: pressing a button again does not turn a reboot around. A later
    /// one that names an earlier end is heeded in that.
    pub(super) fn power_wanted(&mut self, kind: PowerKind, within_ms: Option<u64>) {
        let within_ms = within_ms.map(|within_ms| within_ms.min(SHUTDOWN_WITHIN_MAX_MS));
        if let Some(power) = &mut self.power {
            if let Some(within_ms) = within_ms {
                power.deadline_ns = power.deadline_ns.min(self.now.plus_ms(within_ms).0);
            }
            let kind = power.kind;
            self.report("", 0, What::Power { kind });
            return;
        }
        let deadline_ns = self.now.plus_ms(within_ms.unwrap_or(SHUTDOWN_TIMEOUT_MS)).0;
        self.power = Some(Power { kind, deadline_ns, handed_over: false });
        self.report("", 0, What::Power { kind });
        self.dirty.extend(self.units.keys().cloned());
    }

    /// Hands over to PID 1 when nobody is left, or time is up.
    pub(super) fn power_check(&mut self) {
        let Some(mut power) = self.power.filter(|power| !power.handed_over) else { return };
        let living = self.units.iter().filter(|(_, unit)| unit.memory.phase.is_living());
        let mut left: Vec<String> = living.map(|(key, _)| key.clone()).collect();
        left.extend(self.strays.keys().map(|(key, _)| key.clone()));
        if !left.is_empty() && self.now.0 < power.deadline_ns {
            return;
        }
        power.handed_over = true;
        self.power = Some(power);
        self.report("", 0, What::Shutdown { kind: power.kind, left });
        self.effects.push(Effect::Shutdown { kind: power.kind });
    }
}
