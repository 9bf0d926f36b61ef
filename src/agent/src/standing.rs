//! What holds on this host and somebody should know, until it does not hold any more: a system on
//! trial, user-data that cannot be obeyed, a volume that does not come.
//!
//! At most one notice a subject. A change is said in the log and on the host's console when it
//! comes, and `rollinit status` shows what holds. Kept in memory: whoever sets a notice sets it
//! again when the agent is started anew.

use crate::closures::wall_ms;
use crate::console::Console;
use crate::events::Events;
use crate::limits::NOTICES_MAX;
use control::agent::{Level, Notice, NoticeList};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::SystemTime;
use sys::kmsg::Priority;

/// The notices of this host.
#[derive(Debug, Default)]
pub struct Standing {
    notices: RefCell<BTreeMap<String, Notice>>,
    events: Events,
}

impl Standing {
    /// Tells `events` of what comes and goes.
    #[must_use]
    pub fn new(events: Events) -> Self {
        Self { notices: RefCell::default(), events }
    }

    /// From now on this holds about `subject`, in place of what held before. Said aloud if it is
    /// news.
    pub fn set(
        &self,
        console: &Console,
        subject: &str,
        level: Level,
        text: &str,
        cure: Option<&str>,
    ) {
        let mut notices = self.notices.borrow_mut();
        let before = notices.get(subject);
        let is_same = |notice: &Notice| {
            notice.level == level && notice.text == text && notice.cure.as_deref() == cure
        };
        if before.is_some_and(is_same) {
            return;
        }
        if before.is_none() && notices.len() >= NOTICES_MAX {
            tracing::error!(
                "{subject}: {text} (not in `rollinit status`: it has too many notices)"
            );
            return;
        }
        let cure = cure.map(str::to_owned);
        let words = cure.as_ref().map_or_else(|| text.to_owned(), |cure| format!("{text}; {cure}"));
        console.announce(priority(level), &format!("{subject}: {words}"));
        let since_ms = wall_ms(SystemTime::now()).unwrap_or(0);
        let (subject, text) = (subject.to_owned(), text.to_owned());
        let notice = Notice { subject, level, text, cure, since_ms };
        self.events.notice(&notice);
        notices.insert(notice.subject.clone(), notice);
        self.events.notices(notices.values().map(|notice| notice.level));
    }

    /// As [`Self::set`], but not said aloud.
    pub fn set_quietly(&self, subject: &str, level: Level, text: &str, cure: Option<&str>) {
        let mut notices = self.notices.borrow_mut();
        let (subject, text, cure) = (subject.to_owned(), text.to_owned(), cure.map(str::to_owned));
        let before = notices.get(&subject);
        let is_same = before.is_some_and(|notice| {
            notice.level == level && notice.text == text && notice.cure == cure
        });
        if is_same || (before.is_none() && notices.len() >= NOTICES_MAX) {
            return;
        }
        let since_ms = wall_ms(SystemTime::now()).unwrap_or(0);
        notices.insert(subject.clone(), Notice { subject, level, text, cure, since_ms });
        self.events.notices(notices.values().map(|notice| notice.level));
    }

    /// Nothing is to be said about `subject` any more.
    pub fn clear(&self, subject: &str) {
        let mut notices = self.notices.borrow_mut();
        if notices.remove(subject).is_some() {
            self.events.notice_cleared(subject);
            self.events.notices(notices.values().map(|notice| notice.level));
        }
    }

    /// What holds, the worst first.
    #[must_use]
    pub fn list(&self) -> NoticeList {
        let mut notices: Vec<Notice> = self.notices.borrow().values().cloned().collect();
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
        NoticeList { notices }
    }
}

fn priority(level: Level) -> Priority {
    match level {
        Level::Error => Priority::Error,
        Level::Warning => Priority::Warning,
        Level::Information => Priority::Notice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One notice a subject, the worst first, and never more than so many.
    #[test]
    fn notices_stand_until_cleared() {
        let (standing, console) = (Standing::default(), Console::new(false));
        standing.set(&console, "system", Level::Information, "on trial", None);
        standing.set(&console, "user-data", Level::Error, "no TOML", Some("write TOML"));
        let first = standing.list();
        assert_eq!(first.notices[0].subject, "user-data");
        assert_eq!(first.notices[1].text, "on trial");
        standing.set(&console, "user-data", Level::Error, "no TOML", Some("write TOML"));
        assert_eq!(standing.list(), first, "the same again is no news");
        standing.set(&console, "system", Level::Error, "fell back", None);
        assert_eq!(standing.list().notices.len(), 2);
        standing.clear("user-data");
        assert_eq!(standing.list().notices[0].text, "fell back");
        for number in 0..2 * NOTICES_MAX {
            standing.set(&console, &number.to_string(), Level::Warning, "much", None);
        }
        assert_eq!(standing.list().notices.len(), NOTICES_MAX);
    }
}
