//! Virtual time. The world knows only [`Timestamp`]s that it is handed; [`Clock`] makes them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A moment of virtual time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch with a fraction of milliseconds: how EKS writes times in JSON.
    pub fn epoch_seconds(self) -> f64 {
        // Milliseconds of any plausible year are below 2^53, so the conversion is exact.
        self.0 as f64 / 1000.0
    }

    /// The moment `duration` later; saturates.
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// The moment `duration` earlier, at the earliest the Unix epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// The time passed since `earlier`; zero when `earlier` lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with whole seconds, e.g. `2026-11-22T10:00:00Z`: IAM's and Kubernetes' format.
    pub fn rfc3339(self) -> String {
        Self(self.0 / 1000 * 1000).instant().to_string()
    }

    /// RFC 3339 in UTC with exactly three decimals, e.g. `2026-11-22T10:00:00.000Z`: EC2's format.
    pub fn rfc3339_millis(self) -> String {
        format!("{:.3}", self.instant())
    }

    /// RFC 3339 in UTC with six decimals: Kubernetes' `MicroTime`.
    pub fn rfc3339_micros(self) -> String {
        format!("{:.6}", self.instant())
    }

    /// Reads RFC 3339, or SigV4's compact form `20261122T100000Z`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let instant = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant,
            Err(_) => jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text)
                .ok()?
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp(),
        };
        u64::try_from(instant.as_millisecond()).ok().map(Self)
    }

    fn instant(self) -> jiff::Timestamp {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// The clock of a running sandbox: virtual time over tokio's, which tests may pause.
///
/// Cloned freely; all clones agree.
#[derive(Debug, Clone)]
pub struct Clock {
    base: Timestamp,
    /// What the clients' own clocks showed at the start; `None` when they read this one.
    wall: Option<Timestamp>,
    start: tokio::time::Instant,
    scale: f64,
}

impl Clock {
    /// A clock that shows `base` now and runs with tokio's time, paused or not. Clients read it too.
    pub fn starting_at(base: Timestamp) -> Self {
        Self {
            base,
            wall: None,
            start: tokio::time::Instant::now(),
            scale: 1.0,
        }
    }

    /// A clock that shows `now` now and runs `scale` times as fast as tokio's time (0.01 to 10,000), for
    /// clients with ordinary clocks of their own, which show `now` too.
    pub fn scaled(now: Timestamp, scale: f64) -> Self {
        Self {
            wall: Some(now),
            scale: scale.clamp(0.01, 10_000.0),
            ..Self::starting_at(now)
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.base.after(self.start.elapsed().mul_f64(self.scale))
    }

    /// The time on the clients' clocks.
    pub fn wall(&self) -> Timestamp {
        self.wall
            .map_or_else(|| self.now(), |wall| wall.after(self.start.elapsed()))
    }

    /// Sleeps for a span of virtual time.
    pub async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            tokio::time::sleep_until(tokio::time::Instant::now() + duration.div_f64(self.scale)).await;
        }
    }

    /// The same clock, set forward so that it shows at least `earliest`.
    pub(crate) fn not_before(mut self, earliest: Timestamp) -> Self {
        self.base = self.base.after(earliest.since(self.now()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_the_services() {
        let at = Timestamp::from_millis(1_795_341_600_250);
        assert_eq!(at.rfc3339(), "2026-11-22T10:00:00Z");
        assert_eq!(at.rfc3339_millis(), "2026-11-22T10:00:00.250Z");
        assert_eq!(at.rfc3339_micros(), "2026-11-22T10:00:00.250000Z");
        assert_eq!(
            Timestamp::from_millis(1_795_341_600_000).rfc3339_millis(),
            "2026-11-22T10:00:00.000Z"
        );
        assert_eq!(
            Timestamp::parse("20261122T100000Z"),
            Timestamp::parse("2026-11-22T10:00:00Z")
        );
        assert_eq!(Timestamp::parse("2026-11-22T10:00:00.25Z"), Some(at));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
