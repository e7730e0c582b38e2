//! A seeded script of faults: what goes wrong, when. Equal scripts and requests give equal faults.

use crate::Timestamp;
use crate::aws::{like, splitmix};
use crate::world::World;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// The service answers that it is asked too often; nothing happened.
    Throttle,
    /// A server error with this status (500 to 599); nothing happened.
    ServerError(u16),
    /// The connection breaks before the request arrives; nothing happened.
    Reset,
    /// The request takes effect and its answer is lost.
    LoseAnswer,
    /// The request takes effect and is answered with a server error of this status (500 to 599).
    ServerErrorAfter(u16),
    /// The request takes effect after this many milliseconds of virtual time.
    Delay(u64),
    /// The request is not answered; after an hour of virtual time the connection breaks.
    Hang {
        /// True where it takes effect first.
        after: bool,
    },
    /// The service answers that the credentials have expired; nothing happened.
    Expire,
    /// The service knows what was there this many milliseconds of virtual time ago, and nothing of what came since: that is
    /// what a request reads, and one that names something newer is refused. Any other takes effect. With a log that goes
    /// back that far, this holds across processes.
    Stale(u64),
}

/// Which of the matching requests are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// Only the n-th, counted from 1.
    Nth(u64),
    /// The first n.
    First(u64),
    /// The n-th, counted from 1, and all after it.
    From(u64),
    /// Every n-th.
    Every(u64),
    /// Each with a chance of n in a thousand, drawn from the script's seed.
    Permille(u64),
}

/// One line of the script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Pattern of the service (`ec2`, `eks`, `elasticloadbalancing`, `iam`, `sts`, `kubernetes`); `*` and `?` are wildcards.
    pub service: String,
    /// Pattern of the operation, e.g. `Create*`; for Kubernetes method and path, e.g. `PATCH /apis/apps/*`.
    pub operation: String,
    /// Which matching requests are hit.
    pub when: When,
    /// What happens to them.
    pub fault: Fault,
}

/// A script. The first rule that hits decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FaultScript {
    /// Seed of the chances.
    pub seed: u64,
    /// The lines.
    pub rules: Vec<Rule>,
}

impl FaultScript {
    /// A script with one rule for all services.
    pub fn one(operation: &str, when: When, fault: Fault) -> Self {
        let (service, operation) = ("*".to_owned(), operation.to_owned());
        Self {
            seed: 0,
            rules: vec![Rule {
                service,
                operation,
                when,
                fault,
            }],
        }
    }
}

/// A script while it is played: counts what matched.
#[derive(Debug)]
pub(crate) struct Player {
    script: FaultScript,
    matched: Vec<u64>,
}

impl Player {
    pub(crate) fn new(script: FaultScript) -> Self {
        let matched = vec![0; script.rules.len()];
        Self { script, matched }
    }

    /// How far back a fault of the script may look; `None` where none does.
    pub(crate) fn looks_back(&self) -> Option<Duration> {
        let spans = self.script.rules.iter().filter_map(|rule| match rule.fault {
            Fault::Stale(millis) => Some(Duration::from_millis(millis)),
            _ => None,
        });
        spans.max()
    }

    /// The fault that hits this request, if one does.
    pub(crate) fn next(&mut self, service: &str, operation: &str) -> Option<Fault> {
        let mut hit = None;
        for (place, (rule, matched)) in self.script.rules.iter().zip(&mut self.matched).enumerate() {
            if !like(&rule.service, service) || !like(&rule.operation, operation) {
                continue;
            }
            *matched += 1;
            let chance = splitmix(self.script.seed ^ ((place as u64) << 48) ^ *matched) % 1000;
            let hits = match rule.when {
                When::Nth(n) => *matched == n,
                When::First(n) => *matched <= n,
                When::From(n) => *matched >= n,
                When::Every(n) => n > 0 && *matched % n == 0,
                When::Permille(n) => chance < n,
            };
            if hits && hit.is_none() {
                hit = Some(rule.fault);
            }
        }
        hit
    }
}

/// The world as it was, as far back as somebody may look.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// `None` where nobody looks: nothing is kept then.
    span: Option<Duration>,
    worlds: VecDeque<(Timestamp, World)>,
}

impl Past {
    pub(crate) fn new(span: Option<Duration>) -> Self {
        Self {
            span,
            worlds: VecDeque::new(),
        }
    }

    /// Remembers what a request made of the world.
    pub(crate) fn note(&mut self, now: Timestamp, world: &World) {
        let Some(span) = self.span else { return };
        self.worlds.push_back((now, world.clone()));
        // The last one before the span is what the span begins with.
        while self.worlds.get(1).is_some_and(|(at, _)| now.since(*at) >= span) {
            self.worlds.pop_front();
        }
    }

    /// The world as it was at a moment, or at the first that is remembered.
    pub(crate) fn at(&self, moment: Timestamp) -> Option<World> {
        let before = self.worlds.iter().rev().find(|(at, _)| *at <= moment);
        let (at, world) = before.or(self.worlds.front())?;
        let mut world = world.clone();
        world.advance(moment.max(*at));
        Some(world)
    }
}

/// A token bucket per service: generous, but a client that polls without pause runs dry.
#[derive(Debug, Default)]
pub(crate) struct Buckets(std::collections::BTreeMap<&'static str, (f64, Timestamp)>);

/// Requests in a burst, and refill per second.
const BURST: f64 = 400.0;
const REFILL: f64 = 200.0;

impl Buckets {
    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self, now: Timestamp, service: &'static str) -> bool {
        let (tokens, last) = self.0.entry(service).or_insert((BURST, now));
        let refilled: Duration = now.since(*last);
        *tokens = (*tokens + refilled.as_secs_f64() * REFILL).min(BURST);
        *last = now;
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_what_they_match() {
        let mut player = Player::new(FaultScript {
            seed: 1,
            rules: vec![
                Rule {
                    service: "ec2".into(),
                    operation: "Create*".into(),
                    when: When::Nth(2),
                    fault: Fault::LoseAnswer,
                },
                Rule {
                    service: "*".into(),
                    operation: "*".into(),
                    when: When::Every(3),
                    fault: Fault::Throttle,
                },
            ],
        });
        let hits: Vec<_> = [
            ("ec2", "CreateVpc"),
            ("ec2", "CreateSubnet"),
            ("iam", "GetRole"),
            ("ec2", "CreateVpc"),
        ]
        .map(|(service, operation)| player.next(service, operation))
        .into();
        assert_eq!(hits, [None, Some(Fault::LoseAnswer), Some(Fault::Throttle), None]);
    }

    #[test]
    fn chances_repeat_with_their_seed() {
        let play = |seed| {
            let mut player = Player::new(FaultScript {
                seed,
                ..FaultScript::one("*", When::Permille(300), Fault::Reset)
            });
            (0..100)
                .map(|_| player.next("eks", "X").is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(play(5), play(5));
        assert_ne!(play(5), play(6));
        let hits = play(5).into_iter().filter(|hit| *hit).count();
        assert!((15..45).contains(&hits), "{hits} of 100");
    }

    #[test]
    fn a_bucket_runs_dry_and_refills() {
        let mut buckets = Buckets::default();
        let now = Timestamp::from_millis(0);
        assert_eq!((0..500).filter(|_| buckets.take(now, "ec2")).count(), 400);
        assert!(buckets.take(now, "iam"));
        assert!(buckets.take(now.after(Duration::from_secs(1)), "ec2"));
    }
}
