//! One random run: a program, an edit of it, faults and deaths on the way, and what a plain run makes of it at the end.

use epid_sandbox::FaultScript;
use epid_sandbox::faults::{Fault, Rule, When};
use fastrand::Rng;

use crate::deaths::{Goal, Recorded};
use crate::machine::{Failed, Machine};
use crate::moments::Moment;
use crate::programs::Program;

const STACK: &str = "s";
/// How many deaths of a run are gone on from.
const DEATHS: usize = 6;
/// How often those that go on die again.
const AGAIN: usize = 2;

/// Makes a random program, edits it, and lets the run of the edited one, or its removal, die at some of the moments it might.
/// Each time the next run dies too, up to twice, and then a plain one has to succeed and to leave what a run leaves that met
/// no trouble at all. Gives how many deaths that were.
///
/// # Errors
/// What was otherwise, with the programs.
pub fn run(seed: u64) -> Result<u64, Failed> {
    // Tokens, keys and the clients' jitter come from here too.
    fastrand::seed(seed);
    let random = &mut Rng::with_seed(seed);
    let first = Program::any(random);
    let second = first.edited(random);
    let destroys = random.u8(..4) == 0;
    let tried = tried(random, &first, &second, destroys);
    tried.map_err(|error| {
        let (before, after) = (first.text(), if destroys { String::new() } else { second.text() });
        format!("{error}\n\n-- from\n{before}\n-- to\n{after}").into()
    })
}

fn tried(random: &mut Rng, first: &Program, second: &Program, destroys: bool) -> Result<u64, Failed> {
    let folder = tempfile::tempdir()?;
    first.write(folder.path())?;
    let machine = Machine::of(folder.path())?;
    let up = || Goal::Up(STACK.to_owned());
    let before = Recorded::of(&machine, &Moment::default(), up())?;
    second.write(folder.path())?;
    let machine = machine.with(folder.path())?;
    let goal = if destroys {
        Goal::Destroyed(STACK.to_owned())
    } else {
        up()
    };
    let plain = Recorded::of(&machine, before.last(), goal.clone())?;
    // Made from nothing, or never made, it leaves as much.
    let fresh = Recorded::of(&machine, &Moment::default(), goal.clone())?;
    if let Some(different) = plain.wanted.difference(&fresh.wanted).first() {
        return Err(format!("{goal} without any trouble: {different}").into());
    }
    let going = plain.again(&machine, before.last(), faults(random))?;
    let mut deaths = 0;
    for _ in 0..DEATHS.min(going.moments.len()) {
        let mut moment = die(random, &going);
        for _ in 0..random.usize(..=AGAIN) {
            let next = going.again(&machine, &moment, faults(random))?;
            moment = die(random, &next);
            deaths += 1;
        }
        going
            .go_on(&machine, &moment)
            .map_err(|error| format!("{goal} after `{}`: {error}", moment.after))?;
        deaths += 1;
    }
    Ok(deaths)
}

fn die(random: &mut Rng, going: &Recorded) -> Moment {
    let at = random.usize(..going.moments.len());
    let moment = &going.moments[at];
    let torn = at
        .checked_sub(1)
        .map(|before| moment.torn(&going.moments[before]));
    let mut ways = torn.unwrap_or_default();
    ways.push(moment.clone());
    ways.swap_remove(random.usize(..ways.len()))
}

/// None, one at a certain request, or many of all sorts.
fn faults(random: &mut Rng) -> FaultScript {
    let fault = |random: &mut Rng| match random.u8(..5) {
        0 => Fault::Throttle,
        1 => Fault::ServerError(503),
        2 => Fault::Reset,
        3 => Fault::LoseAnswer,
        _ => Fault::Delay(random.u64(100..60_000)),
    };
    let script = |operation: &str, when, fault, seed| FaultScript {
        seed,
        rules: vec![Rule {
            service: "*".to_owned(),
            operation: operation.to_owned(),
            when,
            fault,
        }],
    };
    match random.u8(..3) {
        0 => FaultScript::default(),
        1 => {
            let nth = When::Nth(random.u64(1..40));
            let what = ["Create*", "Delete*", "*"][random.usize(..3)];
            script(what, nth, fault(random), 0)
        }
        _ => {
            let mut all = script("*", When::Permille(60), fault(random), random.u64(..));
            for _ in 0..2 {
                let more = script("*", When::Permille(40), fault(random), 0);
                all.rules.extend(more.rules);
            }
            all
        }
    }
}
