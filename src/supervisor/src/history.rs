//! What happened lately, and who wants to know what happens.

use control::limits::FEED_BATCHES_MAX;
use control::server::{Batch, Feed};
use control::types::Event;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// Events that are kept: a boot of 100 services, or a day of a calm host. Some 150 KiB.
const EVENTS_MAX: usize = 1000;

/// A caller of `WatchEvents`.
#[derive(Debug)]
struct Watcher {
    sender: mpsc::Sender<Batch<Event>>,
    lost: u64,
}

/// A ring of events in the supervisor's memory, and its watchers.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<Event>,
    overwritten: u64,
    watchers: Vec<Watcher>,
}

impl History {
    /// Keeps an event and tells those who watch. One that does not read in time is told how many
    /// it missed once it does.
    pub fn add(&mut self, event: Event) {
        self.watchers.retain_mut(|watcher| {
            let batch = Batch { records: vec![event.clone()], lost: watcher.lost };
            match watcher.sender.try_send(batch) {
                Ok(()) => watcher.lost = 0,
                Err(mpsc::error::TrySendError::Full(_)) => watcher.lost += 1,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
            true
        });
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.overwritten += 1;
        }
        self.events.push_back(event);
    }

    /// Answers `WatchEvents`.
    pub fn feed(&mut self, follow: bool) -> Feed<Event> {
        let live = follow.then(|| {
            let (sender, receiver) = mpsc::channel(FEED_BATCHES_MAX);
            self.watchers.push(Watcher { sender, lost: 0 });
            receiver
        });
        Feed { backlog: self.events.iter().cloned().collect(), lost: self.overwritten, live }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_ns: u64) -> Event {
        let what = "started".to_owned();
        Event { time_ns, what, service: None, incarnation: None, text: String::new() }
    }

    /// The oldest go first and are counted; a watcher that does not read misses a counted number,
    /// and one that went away is forgotten.
    #[test]
    fn old_events_and_slow_watchers_are_counted() {
        let mut history = History::default();
        let mut slow = history.feed(true).live.expect("live");
        drop(history.feed(true));
        let total = EVENTS_MAX as u64 + 5;
        for time_ns in 0..total {
            history.add(event(time_ns));
        }
        assert_eq!(history.watchers.len(), 1);
        let feed = history.feed(false);
        assert_eq!((feed.backlog.len(), feed.lost), (EVENTS_MAX, 5));
        assert_eq!(feed.backlog[0].time_ns, 5);

        for time_ns in 0..FEED_BATCHES_MAX as u64 {
            let batch = slow.try_recv().expect("queued");
            assert_eq!((batch.records[0].time_ns, batch.lost), (time_ns, 0));
        }
        history.add(event(total));
        let batch = slow.try_recv().expect("again");
        assert_eq!(batch.lost, total - FEED_BATCHES_MAX as u64);
    }
}
