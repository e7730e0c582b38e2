//! How a person stops a run: gently, then firmly.

use tokio::sync::watch;

/// How far a run was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// Start nothing new, finish what runs.
    Drain,
    /// Cancel what runs, too.
    Cancel,
}

/// The hand that stops a run; each call of [`Stopper::stop`] is a Ctrl-C.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<Stop>);

/// What a run watches.
#[derive(Debug, Clone)]
pub struct Control(watch::Receiver<Stop>);

impl Stopper {
    /// A stopper, and the control it acts on.
    #[must_use]
    pub fn new() -> (Self, Control) {
        let (sender, receiver) = watch::channel(Stop::No);
        (Self(sender), Control(receiver))
    }

    /// One step firmer: run, drain, cancel. Returns what holds now.
    pub fn stop(&self) -> Stop {
        self.0.send_modify(|stop| {
            *stop = if *stop == Stop::No {
                Stop::Drain
            } else {
                Stop::Cancel
            }
        });
        *self.0.borrow()
    }

    /// Told to start nothing new; told again it stays at that.
    pub fn drain(&self) {
        self.0.send_modify(|stop| *stop = (*stop).max(Stop::Drain));
    }
}

impl Control {
    /// A control that nobody stops.
    #[must_use]
    pub fn unstoppable() -> Self {
        Stopper::new().1
    }

    /// How far the run was told to stop.
    #[must_use]
    pub fn stop(&self) -> Stop {
        *self.0.borrow()
    }

    /// Returns once the run was told to stop at least this far; otherwise never.
    pub async fn reached(&self, stop: Stop) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|now| *now >= stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
