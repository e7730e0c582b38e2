//! What goes wrong during a run: at the services, and on the disk.

use std::fmt;
use std::time::Duration;

use epid_fake::{Api, Effect};
use epid_sandbox::FaultScript;
use epid_sandbox::faults::{Fault, Rule, When};
use fastrand::Rng;

use crate::cloud::On;

/// What goes wrong during a run. Default nothing.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// In the sandbox.
    pub script: FaultScript,
    /// In the fake cloud.
    pub faults: Vec<epid_fake::Fault>,
    /// The disk is full from that write on, counted from 0, of which it takes so many bytes.
    pub full: Option<(u64, usize)>,
}

/// The services of which readers may see the past: of EKS and Kubernetes they see the present.
const EVENTUAL: [&str; 2] = ["ec2", "iam"];
/// How long services may not know, in milliseconds. Providers ask on for 10 s before they believe that something is gone.
const LAG: std::ops::Range<u64> = 500..8_000;

impl Trouble {
    /// None, or some, of any sort.
    #[must_use]
    pub fn any(on: On, random: &mut Rng) -> Self {
        let mut trouble = Self::default();
        match on {
            On::Sandbox => trouble.script = script(random),
            On::Fake => trouble.faults = faults(random),
        }
        if random.u8(..5) == 0 {
            trouble.full = Some((random.u64(..60), random.usize(..200)));
        }
        trouble
    }

    /// What is no fault: a request may see the past.
    #[must_use]
    pub fn lag(on: On, random: &mut Rng) -> Self {
        let mut trouble = Self::default();
        if on == On::Sandbox {
            trouble.script = lagging(random);
        }
        trouble
    }

    /// True where some steps may fail.
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.script.rules.is_empty() || !self.faults.is_empty()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.script.rules.iter().map(|rule| {
            let Rule {
                service,
                operation,
                when,
                fault,
            } = rule;
            format!("{service} {operation} {when:?} {fault:?}")
        });
        let faults = self.faults.iter().map(|fault| format!("{fault:?}"));
        let full = self
            .full
            .map(|(write, _)| format!("a full disk from write {write} on"));
        let all: Vec<String> = rules.chain(faults).chain(full).collect();
        match all.as_slice() {
            [] => f.write_str("no trouble"),
            all => f.write_str(&all.join(", ")),
        }
    }
}

fn rule(service: &str, operation: &str, when: When, fault: Fault) -> Rule {
    Rule {
        service: service.to_owned(),
        operation: operation.to_owned(),
        when,
        fault,
    }
}

/// Nothing, one fault at a certain request, many of all sorts, credentials that expire, services that lag behind.
fn script(random: &mut Rng) -> FaultScript {
    let mut script = FaultScript {
        seed: random.u64(..),
        rules: Vec::new(),
    };
    let kind = random.u8(..6);
    match kind {
        0 => {}
        1 | 2 => {
            let nth = When::Nth(random.u64(1..40));
            let what = ["Create*", "Delete*", "*"][random.usize(..3)];
            script.rules.push(rule("*", what, nth, fault(random)));
        }
        3 => {
            let from = When::From(random.u64(1..80));
            script.rules.push(rule("*", "*", from, Fault::Expire));
        }
        4 => return lagging(random),
        _ => {
            for chance in [60, 40, 40] {
                let now_and_then = When::Permille(chance);
                script.rules.push(rule("*", "*", now_and_then, fault(random)));
            }
            if random.bool() {
                script.rules.extend(lagging(random).rules);
            }
        }
    }
    script
}

fn fault(random: &mut Rng) -> Fault {
    match random.u8(..7) {
        0 => Fault::Throttle,
        1 => Fault::ServerError(503),
        2 => Fault::ServerErrorAfter([500, 503][random.usize(..2)]),
        3 => Fault::Reset,
        4 => Fault::LoseAnswer,
        5 => Fault::Hang { after: random.bool() },
        _ => Fault::Delay(random.u64(100..60_000)),
    }
}

fn lagging(random: &mut Rng) -> FaultScript {
    let often = When::Permille(random.u64(100..700));
    let lag = Fault::Stale(random.u64(LAG));
    FaultScript {
        seed: random.u64(..),
        rules: EVENTUAL.map(|service| rule(service, "*", often, lag)).into(),
    }
}

/// Nothing, up to three faults, or credentials that expire.
fn faults(random: &mut Rng) -> Vec<epid_fake::Fault> {
    if random.u8(..6) == 0 {
        let refused = epid_fake::Fault::new(Effect::Refuse);
        return vec![refused.onwards(random.u32(1..60))];
    }
    let count = random.usize(..4);
    std::iter::repeat_with(|| {
        let effect = match random.u8(..8) {
            0 => Effect::Refuse,
            1 => Effect::Unwell,
            2 => Effect::Throttle,
            3 => Effect::LoseAnswer,
            4 => Effect::LoseRequest,
            5 => Effect::Half,
            6 => Effect::Delay(Duration::from_secs(30)),
            _ => Effect::Hang { after: random.bool() },
        };
        let api = match random.u8(..13) {
            0..=3 => Api::Create,
            4..=6 => Api::Update,
            7..=9 => Api::Delete,
            10 => Api::Recover,
            11 => Api::Observe,
            _ => Api::Connect,
        };
        epid_fake::Fault::new(effect).api(api).nth(random.u32(1..20))
    })
    .take(count)
    .collect()
}
