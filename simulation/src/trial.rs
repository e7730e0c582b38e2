//! One random run: a program, an edit of it, faults and deaths on the way, and what a plain run makes of it at the end.

use fastrand::Rng;

use crate::cloud::On;
use crate::deaths::{Goal, Recorded};
use crate::fakes;
use crate::machine::{Failed, Machine};
use crate::moments::Moment;
use crate::programs::{self, Program};
use crate::trouble::Trouble;

const STACK: &str = "s";
/// How many deaths of a run are gone on from.
const DEATHS: usize = 6;
/// How often those that go on die again.
const AGAIN: usize = 2;

/// A stack before and after an edit, as stack files.
struct Stacks {
    before: String,
    after: String,
}

/// Makes a random program, edits it, and lets the run of the edited one, or its removal, die at some of the moments it might,
/// in trouble of all sorts. Each time the next run dies too, up to twice, and then a plain one has to succeed and to leave what
/// a run leaves that met no trouble at all. Gives how many deaths that were.
///
/// # Errors
/// What was otherwise, with the programs.
pub fn run(on: On, seed: u64) -> Result<u64, Failed> {
    // Tokens, keys and the clients' jitter come from here too.
    fastrand::seed(seed);
    let random = &mut Rng::with_seed(seed);
    let (before, after) = match on {
        On::Sandbox => {
            let first = Program::any(random);
            (first.text(), first.edited(random).text())
        }
        On::Fake => fakes::pair(random)?,
    };
    let destroys = random.u8(..4) == 0;
    let stacks = Stacks { before, after };
    tried(on, random, &stacks, destroys).map_err(|error| {
        let after = if destroys { "" } else { &stacks.after };
        format!("{error}\n\n-- from\n{}\n-- to\n{after}", stacks.before).into()
    })
}

fn tried(on: On, random: &mut Rng, stacks: &Stacks, destroys: bool) -> Result<u64, Failed> {
    let folder = tempfile::tempdir()?;
    programs::write(folder.path(), &stacks.before)?;
    let machine = Machine::of(folder.path())?;
    let up = || Goal::Up(STACK.to_owned());
    let nothing = Moment::beginning(on);
    let before = Recorded::of(&machine, &nothing, up())?;
    programs::write(folder.path(), &stacks.after)?;
    let machine = machine.with(folder.path())?;
    let goal = if destroys {
        Goal::Destroyed(STACK.to_owned())
    } else {
        up()
    };
    let plain = Recorded::of(&machine, before.last(), goal.clone())?;
    // Made from nothing, or never made, it leaves as much.
    let fresh = Recorded::of(&machine, &nothing, goal.clone())?;
    if let Some(different) = plain.wanted.difference(&fresh.wanted).first() {
        return Err(format!("{goal} without any trouble: {different}").into());
    }
    let trouble = Trouble::any(on, random);
    let going = plain
        .again(&machine, before.last(), &trouble)
        .map_err(|error| format!("{goal} with {trouble}: {error}"))?;
    let mut deaths = 0;
    for _ in 0..DEATHS.min(going.moments.len()) {
        let mut moment = die(random, &going);
        let mut story = format!("{goal} with {trouble}, dead after `{}`", moment.after);
        for _ in 0..random.usize(..=AGAIN) {
            let trouble = Trouble::any(on, random);
            story.push_str(&format!("\nagain with {trouble}"));
            let next = going.again(&machine, &moment, &trouble);
            moment = die(random, &next.map_err(|error| format!("{story}: {error}"))?);
            story.push_str(&format!(", dead after `{}`", moment.after));
            deaths += 1;
        }
        let lag = if random.bool() {
            Trouble::lag(on, random)
        } else {
            Trouble::default()
        };
        going
            .go_on(&machine, &moment, &lag)
            .map_err(|error| format!("{story}\nat last with {lag}: {error}"))?;
        deaths += 1;
    }
    Ok(deaths)
}

fn die(random: &mut Rng, going: &Recorded) -> Moment {
    let moment = &going.moments[random.usize(..going.moments.len())];
    let mut ways = moment.torn();
    ways.push(moment.clone());
    ways.swap_remove(random.usize(..ways.len()))
}
