//! The planner against the oracle: random programs, and states that runs of earlier ones left, some of them cut short.
//!
//! `PROPTEST_CASES=20000 PROPTEST_RNG_SEED=7 cargo test --test lifecycle agreement` looks longer, and elsewhere.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use epid::graph::ResourceGraph;
use epid::plan::{Action, Mode, Observations, Plan, PlanProblem, Selection, Step, StepId};
use epid::state::{RecordKey, Snapshot};
use epid_fake::fault::Api;
use epid_fake::programs::{Edit, Specs, edit_with_options, edited, render, specs_with_options};
use epid_fake::{Effect, Fault};
use epid_provider::Urn;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::oracle::{Case, Left, Made, Moment, Refused, Ruling, rule};
use crate::properties::{cases, with_facts};
use crate::stack::{Stack, on_clock};

/// What a plan says, in the words of the oracle.
struct Said<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    /// For each step all that come before it.
    before: Vec<BTreeSet<StepId>>,
}

impl<'a> Said<'a> {
    fn new(plan: &'a Plan, snapshot: &'a Snapshot) -> Self {
        let mut before: Vec<BTreeSet<StepId>> = Vec::new();
        for step in &plan.steps {
            let mut all = BTreeSet::new();
            for earlier in &step.after {
                all.insert(*earlier);
                all.extend(&before[earlier.0 as usize]);
            }
            before.push(all);
        }
        Self {
            plan,
            snapshot,
            before,
        }
    }

    fn steps_of(&self, urn: &Urn) -> impl Iterator<Item = &'a Step> {
        let urn = urn.clone();
        self.plan.steps.iter().filter(move |step| step.target.urn == urn)
    }

    /// The step that makes a resource as the program says.
    fn making(&self, urn: &Urn) -> Option<&'a Step> {
        let forward =
            |step: &&Step| !step.action.removes() && !is_letting_go(step) && step.action != Action::Decide;
        self.steps_of(urn)
            .filter(forward)
            .max_by_key(|step| (step.action != Action::Nothing, step.target.generation))
    }

    /// The step after which a record is gone.
    fn removing(&self, key: &RecordKey) -> Option<&'a Step> {
        let mut steps = self.plan.steps.iter();
        steps.find(|step| {
            (step.action.removes() || is_letting_go(step))
                && (step.target == *key || step.takes.contains(key))
        })
    }

    fn made(&self, urn: &Urn) -> Made {
        let Some(step) = self.making(urn) else {
            return Made::Nothing;
        };
        match step.action {
            Action::Create => Made::Create,
            Action::Update => Made::Update,
            Action::Replace => Made::CreateFirst,
            Action::Refill => {
                let old = self.old(step);
                let gone = old.and_then(|key| self.removing(&key));
                Made::DeleteFirst {
                    surely: gone.is_some_and(|gone| gone.only_if_replaced.is_empty()),
                }
            }
            Action::Read => Made::Read,
            Action::Import => Made::Import,
            Action::Adopt => Made::Adopt,
            Action::Record => Made::Record,
            Action::Connect => match self.old(step) {
                None => Made::Connect,
                Some(old) if old.generation < step.target.generation && old.urn == step.target.urn => {
                    Made::Reconnect
                }
                Some(_) if step.reconfigures() => Made::Reconfigure,
                Some(_) => Made::Nothing,
            },
            _ => Made::Nothing,
        }
    }

    /// The live record that a step goes on from.
    fn old(&self, step: &Step) -> Option<RecordKey> {
        let live = self.snapshot.live(&step.target.urn).map(|live| live.key_of());
        step.from.clone().or(live)
    }

    fn left(&self, key: &RecordKey) -> Left {
        if let Some(step) = self.removing(key) {
            return match step.action {
                _ if step.target != *key => Left::With(step.target.clone()),
                Action::Vacate => Left::Vacate,
                Action::Delete => Left::Delete,
                Action::Forget => Left::Forget,
                _ => Left::Drop,
            };
        }
        let taken = self.plan.steps.iter().any(|step| step.takes.contains(key));
        if taken { Left::Followed } else { Left::Stays }
    }

    fn step(&self, moment: &Moment) -> Option<&'a Step> {
        match moment {
            Moment::Done(urn) => self.making(urn),
            Moment::Decided(urn) => self.steps_of(urn).find(|step| step.action == Action::Decide),
            Moment::Gone(key) => self.removing(key),
        }
    }

    /// The moment a step stands for; `None` for what only keeps order.
    fn moment(&self, step: &Step) -> Option<Moment> {
        match step.action {
            Action::Nothing => None,
            Action::Connect if self.made(&step.target.urn) == Made::Nothing => None,
            Action::Decide => Some(Moment::Decided(step.target.urn.clone())),
            Action::Vacate | Action::Delete | Action::Forget | Action::Drop => {
                Some(Moment::Gone(step.target.clone()))
            }
            _ => Some(Moment::Done(step.target.urn.clone())),
        }
    }
}

fn is_letting_go(step: &Step) -> bool {
    matches!(step.action, Action::Forget | Action::Drop)
}

/// Where the planner and the oracle differ.
fn differences(ruling: &Ruling, plan: &Plan, snapshot: &Snapshot) -> Vec<String> {
    let said = Said::new(plan, snapshot);
    let mut found = Vec::new();
    for (urn, made) in &ruling.made {
        let made = if *made == Made::Outside {
            Made::Nothing
        } else {
            *made
        };
        if said.made(urn) != made {
            found.push(format!(
                "{}: the plan has {:?}, the oracle {made:?}",
                urn.path(),
                said.made(urn)
            ));
        }
    }
    for (key, left) in &ruling.left {
        if said.left(key) != *left {
            found.push(format!(
                "{key}: the plan has {:?}, the oracle {left:?}",
                said.left(key)
            ));
        }
    }
    for step in plan.steps.iter().filter(|step| step.action.touches_cloud()) {
        let declared = ruling.made.contains_key(&step.target.urn);
        if !declared && !ruling.left.contains_key(&step.target) {
            found.push(format!("{}: only the plan has a {:?}", step.target, step.action));
        }
    }
    if !found.is_empty() {
        return found;
    }
    for (one, other) in &ruling.before {
        if let (Some(one), Some(other)) = (said.step(one), said.step(other))
            && one.id != other.id
            && !said.before[other.id.0 as usize].contains(&one.id)
        {
            found.push(format!("the plan lacks {} before {}", name(one), name(other)));
        }
    }
    for step in &plan.steps {
        for earlier in &said.before[step.id.0 as usize] {
            let earlier = plan.step(*earlier).unwrap();
            if let (Some(one), Some(other)) = (said.moment(earlier), said.moment(step))
                && !ruling.before.contains(&(one, other))
            {
                found.push(format!(
                    "only the plan has {} before {}",
                    name(earlier),
                    name(step)
                ));
            }
        }
    }
    found
}

fn name(step: &Step) -> String {
    format!(
        "{:?} {}#{}",
        step.action,
        step.target.urn.path(),
        step.target.generation
    )
}

fn told(steps: &[Step], snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for step in steps {
        let after: Vec<String> = step.after.iter().map(|id| id.0.to_string()).collect();
        let only: Vec<String> = step.only_if_replaced.iter().map(|id| id.0.to_string()).collect();
        let takes: Vec<String> = step
            .takes
            .iter()
            .map(|k| format!("{}#{}", k.urn.path(), k.generation))
            .collect();
        writeln!(
            text,
            "  {} {} after {after:?} only {only:?} takes {takes:?}",
            step.id.0,
            name(step)
        )
        .unwrap();
    }
    for entry in snapshot.entries.values() {
        let edges: BTreeSet<&str> = entry.edges().map(Urn::path).collect();
        writeln!(
            text,
            "  {} {:?} {} in {:?} edges {edges:?} through {:?} incomplete {:?} key {:?}",
            entry.key_of(),
            entry.role,
            entry.record.applied,
            entry.deleted_with.as_ref().map(Urn::path),
            entry
                .provider
                .as_ref()
                .map(|p| format!("{}#{}", p.urn.path(), p.generation)),
            entry.record.incomplete,
            entry.key.as_ref().map(ToString::to_string),
        )
        .unwrap();
    }
    text
}

/// How often something was seen.
type Tally = RefCell<BTreeMap<String, usize>>;

fn count(tally: &Tally, what: &str, seen: impl std::fmt::Debug) {
    let seen = format!("{seen:?}");
    let word = seen.split('(').next().unwrap();
    *tally.borrow_mut().entry(format!("{what} {word}")).or_default() += 1;
}

/// What has to be seen, or the histories do not reach it any more.
fn reached(tally: &BTreeMap<String, usize>) {
    let actions = [
        "Create", "Update", "Replace", "Decide", "Vacate", "Refill", "Delete", "Read", "Import", "Adopt",
        "Forget", "Drop", "Record", "Connect", "Nothing",
    ];
    let made = [
        "Outside",
        "Reconfigure",
        "Reconnect",
        "DeleteFirst { surely: true }",
        "DeleteFirst { surely: false }",
    ];
    let rules = [
        "what is needed comes before",
        "both orders of replacement",
        "decided before the first delete",
        "what depends goes before",
        "a connection stays while it is used",
        "a name is free before it is taken",
        "changed before it goes",
        "too late to be waited for",
    ];
    let refused = [
        "NoSuchName",
        "SameName",
        "Protected",
        "RetainedInDeleted",
        "NeedsOutside",
        "UnderOutside",
        "MayNotGoFirst",
        "Held",
        "Circle",
    ];
    let all =
        |what: &str, words: &[&str]| -> Vec<String> { words.iter().map(|w| format!("{what} {w}")).collect() };
    let wanted = [
        all("step", &actions),
        all("made", &made),
        all("left", &["With", "Followed"]),
        all(
            "rule",
            &rules
                .map(|rule| format!("{rule:?}"))
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ),
        all("refused", &refused),
    ];
    let missing: Vec<String> = wanted
        .concat()
        .into_iter()
        .filter(|what| !tally.contains_key(what))
        .collect();
    assert!(missing.is_empty(), "never seen: {missing:#?} among {tally:#?}");
}

/// What a problem of the planner is about.
fn reason(problem: &PlanProblem) -> Option<Refused> {
    let reasons = [
        ("no resource is called", Refused::NoSuchName),
        ("are the same resource", Refused::SameName),
        ("is protected", Refused::Protected),
        ("is retained", Refused::RetainedInDeleted),
        ("is needed and", Refused::NeedsOutside),
        ("this run leaves alone", Refused::UnderOutside),
        ("deleteBeforeReplace = false", Refused::MayNotGoFirst),
        ("cannot be deleted while", Refused::Held),
        ("wait for each other", Refused::Circle),
    ];
    let mut reasons = reasons.into_iter();
    reasons
        .find(|(text, _)| problem.message.contains(text))
        .map(|(_, reason)| reason)
}

/// Compares the two, and hands on the plan where both have one.
fn agreed(
    stack: &Stack,
    graph: &ResourceGraph,
    mode: Mode,
    selection: &Selection,
    tally: &Tally,
) -> Result<Option<Plan>, TestCaseError> {
    let snapshot = stack.snapshot();
    let observed = Observations::new();
    let ruling = rule(Case {
        graph,
        snapshot: &snapshot,
        observed: &observed,
        providers: &stack.providers,
        selection,
    });
    match stack.plan_with(graph, mode, &observed, selection) {
        Err(problems) => {
            let reasons: BTreeSet<Option<Refused>> = problems.iter().map(reason).collect();
            let expected: BTreeSet<Option<Refused>> =
                ruling.refused.iter().map(|(why, _)| Some(*why)).collect();
            prop_assert!(
                reasons == expected,
                "the planner refuses: {problems:#?}\nthe oracle: {:#?}\n{}",
                ruling.refused,
                told(&[], &snapshot)
            );
            for reason in reasons.into_iter().flatten() {
                count(tally, "refused", reason);
            }
            Ok(None)
        }
        Ok(plan) => {
            prop_assert!(
                ruling.refused.is_empty(),
                "the oracle refuses: {:#?}\n{}",
                ruling.refused,
                told(&plan.steps, &snapshot)
            );
            let found = differences(&ruling, &plan, &snapshot);
            prop_assert!(found.is_empty(), "{found:#?}\n{}", told(&plan.steps, &snapshot));
            for step in &plan.steps {
                count(tally, "step", step.action);
            }
            for made in ruling.made.values() {
                count(tally, "made", made);
            }
            for left in ruling.left.values() {
                count(tally, "left", left);
            }
            for rule in &ruling.rules {
                count(tally, "rule", rule);
            }
            Ok(Some(plan))
        }
    }
}

/// One run of a history.
#[derive(Debug, Clone)]
struct Turn {
    edits: Vec<Edit>,
    faults: Vec<Fault>,
    selection: (Vec<u8>, Vec<u8>, Vec<u8>),
}

fn turn() -> impl Strategy<Value = Turn> {
    let few = |weight: f64| {
        prop::option::weighted(weight, prop::collection::vec(any::<u8>(), 1..3))
            .prop_map(Option::unwrap_or_default)
    };
    let edits = prop::collection::vec(edit_with_options(), 0..4);
    let faults = prop::option::weighted(0.5, prop::collection::vec(fault(), 1..4));
    (edits, faults, (few(0.07), few(0.07), few(0.07))).prop_map(|(edits, faults, selection)| Turn {
        edits,
        faults: faults.unwrap_or_default(),
        selection,
    })
}

/// What leaves something half done: a half-made thing, a vacancy, a condemned one, an update that was tried.
fn fault() -> impl Strategy<Value = Fault> {
    let effect = prop_oneof![
        4 => Just(Effect::Refuse),
        3 => Just(Effect::Half),
        1 => Just(Effect::LoseAnswer),
    ];
    let api = prop_oneof![
        3 => Just(Api::Create),
        2 => Just(Api::Update),
        3 => Just(Api::Delete),
    ];
    (effect, api, 1u32..4).prop_map(|(effect, api, nth)| Fault::new(effect).api(api).nth(nth))
}

/// The resources at some places; what is not there is seldom asked for.
fn selected(specs: &Specs, (targets, excludes, replace): &(Vec<u8>, Vec<u8>, Vec<u8>)) -> Selection {
    let there: Vec<usize> = (0..specs.len()).filter(|at| specs[*at].is_some()).collect();
    let one = |place: &u8| match there.get(usize::from(*place) % (there.len() + 1)) {
        Some(at) => format!("*{at}"),
        None => format!("*{}", place % 9),
    };
    let all = |places: &[u8]| places.iter().map(|place| one(place).parse().unwrap()).collect();
    Selection {
        targets: all(targets),
        excludes: all(excludes),
        replace: all(replace),
    }
}

async fn lived(first: &Specs, turns: &[Turn], tally: &Tally) -> Result<(), TestCaseError> {
    let mut stack = with_facts();
    let mut specs = first.clone();
    for turn in turns {
        specs = edited(&specs, &turn.edits);
        let text = render(&specs);
        let graph = stack.graph(&text);
        stack.recover().await;
        let selection = selected(&specs, &turn.selection);
        let agreed_on = agreed(&stack, &graph, Mode::Up, &selection, tally)
            .map_err(|error| TestCaseError::fail(format!("{error}\n{text}\n{selection:?}")))?;
        let Some(plan) = agreed_on else { continue };
        for fault in &turn.faults {
            stack.world.fault(fault.clone());
        }
        stack.apply(plan).await;
        stack.restart();
    }
    stack.recover().await;
    agreed(
        &stack,
        &ResourceGraph::empty(),
        Mode::Destroy,
        &Selection::default(),
        tally,
    )?;
    Ok(())
}

/// So many histories are enough to see everything.
const ENOUGH: u32 = 1000;

#[test]
fn the_planner_says_what_the_oracle_says() {
    let cases = cases(ENOUGH);
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    });
    let tally = Tally::default();
    let histories = (specs_with_options(9), prop::collection::vec(turn(), 1..8));
    let result = runner.run(&histories, |(first, turns)| {
        on_clock(lived(&first, &turns, &tally))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    reached(&tally.borrow());
}
