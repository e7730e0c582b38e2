//! How many calls run at once: lanes by API class, which slow down when a service asks for it, and mutexes.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Kind, Timestamp};

use super::schedule::Urgency;
use crate::plan::StepId;
use crate::state::RecordKey;

/// Operations at once in a lane; requests are bounded by each provider's client, and an operation mostly waits.
const WIDEST: f64 = 128.0;
/// The first pause of a lane that was throttled; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Calls that share a service's patience: one provider's kinds of one module, such as `aws:eks`.
pub(super) type LaneKey = (Option<RecordKey>, Arc<str>);

/// The lane of a kind behind a connection.
pub(super) fn lane_key(connection: Option<&RecordKey>, kind: &Kind) -> LaneKey {
    let text = kind.as_str();
    let class = text.rfind(':').and_then(|end| text.get(..end)).unwrap_or(text);
    (connection.cloned(), Arc::from(class))
}

#[derive(Debug)]
pub(super) struct Lane {
    width: f64,
    running: u32,
    pause: Duration,
    paused_until: Timestamp,
    pub(super) waiting: BinaryHeap<Urgency>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            width: WIDEST,
            running: 0,
            pause: FIRST_PAUSE,
            paused_until: Timestamp::default(),
            waiting: BinaryHeap::new(),
        }
    }
}

impl Lane {
    /// Takes a place, where there is one.
    pub(super) fn enter(&mut self, now: Timestamp) -> bool {
        let free = f64::from(self.running) + 1.0 <= self.width && self.paused_until <= now;
        if free {
            self.running += 1;
        }
        free
    }

    /// The most urgent step that waits, where there is a place for it.
    pub(super) fn admit(&mut self, now: Timestamp) -> Option<StepId> {
        if self.waiting.is_empty() || !self.enter(now) {
            return None;
        }
        self.waiting.pop().map(|(_, std::cmp::Reverse(step))| step)
    }

    pub(super) fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A call succeeded: the lane widens by about one for each full round of calls.
    pub(super) fn went_well(&mut self) {
        self.width = (self.width + 1.0 / self.width).min(WIDEST);
        self.pause = FIRST_PAUSE;
    }

    /// The service asked for fewer calls: half the lane, and a pause before anything new starts.
    pub(super) fn throttled(&mut self, now: Timestamp) {
        if self.paused_until > now {
            return;
        }
        self.width = (self.width.min(f64::from(self.running.max(1))) / 2.0).max(1.0);
        self.paused_until = now.after(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// When a paused lane with waiting steps goes on.
    pub(super) fn wakes(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.waiting.is_empty() && self.paused_until > now).then_some(self.paused_until)
    }
}

/// What steps exclude each other by: the connection, the class and the instance, such as `eks-cluster/main`.
pub(super) type MutexKey = (Arc<str>, Arc<str>, Arc<str>);

/// The mutexes that are held, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Mutexes(BTreeMap<MutexKey, (StepId, BinaryHeap<Urgency>)>);

impl Mutexes {
    /// Takes a mutex, or queues for it.
    pub(super) fn take(&mut self, key: &MutexKey, step: StepId, urgency: Urgency) -> bool {
        match self.0.get_mut(key) {
            None => {
                self.0.insert(key.clone(), (step, BinaryHeap::new()));
                true
            }
            Some((holder, _)) if *holder == step => true,
            Some((_, queue)) => {
                queue.push(urgency);
                false
            }
        }
    }

    /// Releases a mutex; the most urgent step that waited holds it now and is returned.
    pub(super) fn release(&mut self, key: &MutexKey) -> Option<StepId> {
        let (holder, queue) = self.0.get_mut(key)?;
        match queue.pop() {
            Some((_, std::cmp::Reverse(next))) => {
                *holder = next;
                Some(next)
            }
            None => {
                self.0.remove(key);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttled_lane_narrows_pauses_and_recovers() {
        let mut lane = Lane::default();
        let now = Timestamp(1000);
        let started = (0..200).filter(|_| lane.enter(now)).count();
        assert_eq!(started, 128);
        lane.throttled(now);
        lane.throttled(now);
        for _ in 0..127 {
            lane.leave();
        }
        assert!(!lane.enter(now), "paused");
        let later = now.after(FIRST_PAUSE);
        assert_eq!(
            (0..200).filter(|_| lane.enter(later)).count(),
            63,
            "half of what ran, one still runs"
        );
        for _ in 0..10_000 {
            lane.went_well();
        }
        assert_eq!(
            (0..200).filter(|_| lane.enter(later)).count(),
            64,
            "as wide as before"
        );
    }
}
