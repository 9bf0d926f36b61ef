//! What people read about the fleet on this host: one notice in `rollinit status`.

use super::Fleet;
use crate::app::Tools;
use control::agent::Level;
use rollout::fleet::{AppWord, Group, Status};
use std::time::Duration;
use tokio::time::Instant;

/// The subject of the notice.
pub const SUBJECT: &str = "fleet";

/// How long the ledger may be away before that is told.
const AWAY_SAID: Duration = Duration::from_secs(5);

/// What is known of the ledger.
#[derive(Debug, Default)]
pub struct Words {
    /// Since when it gives no answer, and the first reason.
    away: Option<(Instant, String)>,
}

impl Words {
    /// It answered.
    pub fn heard(&mut self) {
        self.away = None;
    }

    /// It did not.
    pub fn away(&mut self, why: &str) {
        self.away.get_or_insert_with(|| (Instant::now(), why.to_owned()));
    }

    /// Puts up what holds now.
    pub fn tell(&self, fleet: &Fleet, tools: &Tools, group: Option<&Group>, own: Option<&Status>) {
        let (level, text, cure) = self.line(fleet, group, own);
        let Tools { standing, console, .. } = tools;
        match level {
            Level::Information => standing.set_quietly(SUBJECT, level, &text, cure),
            _ => standing.set(console, SUBJECT, level, &text, cure),
        }
    }

    fn line(
        &self,
        fleet: &Fleet,
        group: Option<&Group>,
        own: Option<&Status>,
    ) -> (Level, String, Option<&'static str>) {
        let name = fleet.group();
        if let Some((since, why)) = &self.away
            && since.elapsed() >= AWAY_SAID
        {
            let text = format!("group {name}: the ledger gives no answer: {why}");
            let cure = "nothing new is rolled here until it does; what serves goes on serving";
            return (Level::Warning, text, Some(cure));
        }
        if !fleet.heard.get() {
            return (Level::Information, format!("group {name}: asks {}", fleet.ledger()), None);
        }
        let Some(group) = group else {
            let text = format!("group {name}: nothing was rolled there yet");
            return (Level::Information, text, Some("rollinit rollout start APP PATH"));
        };
        let apps = own.into_iter().flat_map(|status| &status.apps);
        let apps = apps.filter(|(app, _)| group.apps.contains_key(*app));
        let (mut level, mut words) = (Level::Information, Vec::new());
        for (app, status) in apps {
            if matches!(status.word, AppWord::Failed | AppWord::Refused) {
                level = Level::Warning;
            }
            let text = if status.text.is_empty() { "" } else { ": " };
            words.push(format!("{app} {}{text}{}", status.word.word(), status.text));
        }
        let words = if words.is_empty() { "none of its apps".to_owned() } else { words.join("; ") };
        let cure = (level == Level::Warning).then_some("rollinit rollout status");
        (level, format!("group {name}: {words}"), cure)
    }
}
