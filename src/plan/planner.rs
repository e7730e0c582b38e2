//! Walks the graph once, dependencies first, and decides for each resource what becomes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use epid_provider::{
    Change, Desired, Diff, Key, Observed, Path, Present, Record, Replace, Urn, Value, is_named_by_secret,
};

use super::assemble::{declared, inputs, leaves};
use super::desired::{covered, shown, updated};
use super::drift::{gone, settle};
use super::facts::facts;
use super::problem::{PlanProblem, SECRET_NAME};
use super::removal;
use super::replacement::force;
use super::step::{Action, Drift, Found, LostMark, Mode, Plan, Selection, Step, StepId};
use crate::expression::{Digests, derived_marks};
use crate::graph::{Known, Node, Providers, ResourceGraph, View, overlay, provider_type, unmade};
use crate::state::{Entry, Generation, Realm, RecordKey, Role, Snapshot};

/// What was found by looking, by resource; resources that were not looked at are not in it.
pub type Observations = BTreeMap<Urn, Observed>;

/// What to do about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// Put it back as the program says.
    #[default]
    Undo,
    /// Keep it until the program changes that path. What is gone is made again all the same.
    Accept,
    /// The same where nothing is sent: what is gone is recorded as that.
    Record,
}

/// Everything a plan follows from.
pub struct Request<'a> {
    /// What the program wants; the empty graph to destroy.
    pub graph: &'a ResourceGraph,
    /// What is recorded.
    pub snapshot: &'a Snapshot,
    /// What was seen, where somebody looked.
    pub observed: &'a Observations,
    /// The providers.
    pub providers: &'a Providers,
    /// Up or destroy.
    pub mode: Mode,
    /// What the run is limited to.
    pub selection: &'a Selection,
    /// What to do about drift.
    pub refresh: Refresh,
    /// What is known of secrets by their digests.
    pub digests: &'a dyn Digests,
}

/// Decides what a run will do.
///
/// # Errors
/// Everything that stands in the way, at once.
pub fn plan(request: &Request<'_>) -> Result<Plan, Vec<PlanProblem>> {
    let mut planner = Planner::new(request);
    for node in request.graph.nodes() {
        planner.node(node);
    }
    planner.check_identities();
    removal::plan(&mut planner);
    planner.finish()
}

/// How a node is replaced in this plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    No,
    CreateFirst,
    DeleteFirst,
}

/// How the old generation of something that is replaced leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outgoing {
    /// The step `vacate` deletes it. Where that is not certain, `else_kept` is the step that may change it in place.
    Vacated { vacate: u32, else_kept: Option<u32> },
    /// After that step, if it really replaces.
    After(u32),
    /// Before what it leads to is deleted, if any of these steps decides so: the record of a connection.
    Before,
}

/// What was decided for one node.
pub(super) struct Decided {
    pub(super) known: Known,
    /// The step that later steps wait for.
    pub(super) step: Option<u32>,
    pub(super) replaced: Replaced,
    /// For a delete-first replacement that is not certain: the steps of which any decides it.
    pub(super) decide: Vec<u32>,
}

impl Decided {
    pub(super) fn plain(known: Known, step: Option<u32>) -> Self {
        Self {
            known,
            step,
            replaced: Replaced::No,
            decide: Vec::new(),
        }
    }
}

pub(super) struct Planner<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) live: HashMap<&'a Urn, &'a Entry>,
    pub(super) vacant: HashMap<&'a Urn, &'a Entry>,
    pub(super) highest: HashMap<&'a Urn, Generation>,
    /// Records that a node has taken over: they are no orphans.
    pub(super) claimed: HashMap<RecordKey, &'a Urn>,
    pub(super) decided: HashMap<Urn, Decided>,
    /// Old generations to be removed because of a replacement.
    pub(super) outgoing: Vec<(&'a Entry, Outgoing)>,
    /// The live record that each node has taken over.
    pub(super) taken: HashMap<&'a Urn, &'a Entry>,
    /// What the cloud will call what is made anew, and for which resource.
    pub(super) made_keys: HashMap<(Realm, Key), Urn>,
    pub(super) steps: Vec<Step>,
    pub(super) problems: Vec<PlanProblem>,
    pub(super) drift: Vec<Drift>,
    pub(super) unchanged: usize,
    pub(super) orphans_by_key: HashMap<(Realm, &'a Key), &'a Entry>,
    pub(super) targets: Option<BTreeSet<Urn>>,
    pub(super) excludes: BTreeSet<Urn>,
    /// What excluded records need.
    pub(super) kept: BTreeSet<Urn>,
    /// Live records of which nothing exists any more: seen to be absent, or in something that is.
    pub(super) gone: HashSet<Urn>,
    pub(super) forced: BTreeSet<Urn>,
}

impl<'a> Planner<'a> {
    fn new(request: &'a Request<'a>) -> Self {
        let entries = request.snapshot.entries.values().map(|entry| &**entry);
        let mut planner = Self {
            request,
            live: HashMap::new(),
            vacant: HashMap::new(),
            highest: HashMap::new(),
            claimed: HashMap::new(),
            decided: HashMap::new(),
            outgoing: Vec::new(),
            taken: HashMap::new(),
            made_keys: HashMap::new(),
            steps: Vec::new(),
            problems: Vec::new(),
            drift: Vec::new(),
            unchanged: 0,
            orphans_by_key: HashMap::new(),
            targets: None,
            excludes: BTreeSet::new(),
            kept: BTreeSet::new(),
            gone: gone(request),
            forced: BTreeSet::new(),
        };
        for entry in entries {
            let urn = &entry.record.urn;
            let highest = planner.highest.entry(urn).or_insert(entry.generation);
            *highest = (*highest).max(entry.generation);
            match entry.role {
                Role::Live => {
                    planner.live.insert(urn, entry);
                    if let Some(key) = &entry.key
                        && request.graph.node(urn).is_none()
                    {
                        let realm = request.snapshot.realm(entry.provider.as_ref());
                        planner.orphans_by_key.entry((realm, key)).or_insert(entry);
                    }
                }
                Role::Vacant => {
                    planner.vacant.insert(urn, entry);
                }
                Role::Condemned => {}
            }
        }
        planner.select();
        planner
    }

    /// The record of a node that is made, first or anew.
    pub(super) fn next(&self, node: &Node) -> RecordKey {
        let highest = self.highest.get(&node.urn).map_or(0, |highest| highest.0);
        RecordKey {
            urn: node.urn.clone(),
            generation: Generation(highest + 1),
        }
    }

    fn view<'v>(&'v self, node: &'v Node, known: &'v dyn Fn(&Urn) -> Option<Known>) -> View<'v> {
        View::new(
            self.request.graph.names(),
            node.each.as_ref(),
            known,
            self.request.digests,
        )
    }

    pub(super) fn known(&self, urn: &Urn) -> Option<Known> {
        self.decided.get(urn).map(|d| d.known.clone())
    }

    /// The live record of a node: under its own name, a former one, or by what the cloud calls it.
    fn record_of(&self, node: &Node, desired: &Value) -> Option<(&'a Entry, bool)> {
        if let Some(entry) = self.live.get(&node.urn) {
            return Some((entry, false));
        }
        let free = |entry: &Entry| !self.claimed.contains_key(&entry.key_of());
        let orphan = |urn: &Urn| {
            let entry = self.live.get(urn).copied()?;
            let declared = self.request.graph.node(&entry.record.urn).is_some();
            let kind = entry.record.kind.unversioned() == node.kind.unversioned();
            (!declared && kind && free(entry)).then_some(entry)
        };
        if let Some(entry) = node.aliases.iter().find_map(orphan) {
            return Some((entry, true));
        }
        let key = self
            .request
            .providers
            .of(&node.kind)?
            .identity(&node.kind, desired)?;
        let entry = self
            .orphans_by_key
            .get(&(self.recorded_realm(node.provider.as_ref()), &key))
            .copied()?;
        let same = entry.record.kind.unversioned() == node.kind.unversioned();
        (same && free(entry)).then_some((entry, true))
    }

    /// Where a provider of the program has led so far.
    fn recorded_realm(&self, provider: Option<&Urn>) -> Realm {
        let Some(urn) = provider else {
            return Realm::None;
        };
        match self.taken.get(urn) {
            Some(entry) => self.request.snapshot.realm(Some(&entry.key_of())),
            None => Realm::Unknown(urn.clone()),
        }
    }

    /// Where a provider of the program will lead: that is not known of one that is connected anew.
    pub(super) fn realm(&self, provider: Option<&Urn>) -> Realm {
        let replaced = |urn: &&Urn| self.decided.get(*urn).is_some_and(|d| d.replaced != Replaced::No);
        match provider.filter(replaced) {
            Some(urn) => Realm::Unknown(urn.clone()),
            None => self.recorded_realm(provider),
        }
    }

    fn node(&mut self, node: &'a Node) {
        let desired = {
            let known = |urn: &Urn| self.known(urn);
            node.properties.template.evaluate(&self.view(node, &known))
        };
        let desired = match desired {
            Ok(value) => {
                let marked = node.schema.mark_inputs(&value);
                derived_marks(self.request.digests, &value, marked)
            }
            Err(errors) => {
                let problem = |e: &crate::expression::TemplateError| {
                    let problem = PlanProblem::new(Some(&node.urn), e.span, e.message.clone());
                    if let Some(hint) = &e.hint {
                        problem.hint(hint.clone())
                    } else {
                        problem
                    }
                };
                self.problems.extend(errors.iter().map(problem));
                Value::Map(epid_provider::Map::default())
            }
        };
        let found = self.record_of(node, &desired);
        if let Some((entry, _)) = found {
            self.claimed.insert(entry.key_of(), &node.urn);
            self.taken.insert(&node.urn, entry);
        }
        let after = self.steps_before(node);
        let decided = if !self.selected(&node.urn) {
            self.outside(node, found.map(|(entry, _)| entry))
        } else if let Some((entry, moved)) = found {
            self.existing(node, entry, moved, desired, after)
        } else {
            self.new_resource(node, desired, after)
        };
        self.decided.insert(node.urn.clone(), decided);
    }

    /// The steps of everything a node depends on.
    fn steps_before(&self, node: &Node) -> Vec<StepId> {
        let steps = node
            .edges
            .iter()
            .filter_map(|edge| self.decided.get(&edge.to)?.step)
            .map(StepId);
        let mut after: Vec<StepId> = steps.collect();
        after.sort_unstable();
        after.dedup();
        after
    }

    fn new_resource(&mut self, node: &'a Node, desired: Value, after: Vec<StepId>) -> Decided {
        let action = match (&node.options.import, node.options.adopt) {
            _ if provider_type(&node.kind).is_some() => Action::Connect,
            _ if node.schema.lookup => Action::Read,
            (Some(_), _) => Action::Import,
            (None, true) => Action::Adopt,
            (None, false) => Action::Create,
        };
        let mut found = None;
        let changes = match (action, self.request.observed.get(&node.urn)) {
            (Action::Import | Action::Adopt, Some(Observed::Present(present))) => {
                let changes = self.taken_over(node, present, &desired);
                found = Some(self.found(node, present, &changes));
                changes
            }
            (Action::Adopt, Some(Observed::Absent)) => {
                found = Some(Found::default());
                declared(&node.schema, &desired)
            }
            (Action::Import, Some(Observed::Absent)) => {
                let id = node.options.import.as_deref().unwrap_or_default();
                let message = format!("there is no {} `{id}` to import as `{}`", node.kind, node.address);
                let hint = "check the id in its option `import`, and the account and region of its provider";
                self.problems
                    .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
                Vec::new()
            }
            (Action::Create, _) => declared(&node.schema, &desired),
            _ => leaves(&node.schema, &desired),
        };
        let target = self.next(node);
        let mut step = self.step(node, action, target, after);
        step.desired = Some(inputs(node, Vec::new()));
        step.changes = shown(&changes);
        step.found = found;
        if let Some(vacant) = self.vacant.get(&node.urn).copied() {
            step.takes.push(vacant.key_of());
            self.claimed.insert(vacant.key_of(), &node.urn);
        }
        let id = self.push(step);
        let mut known = unmade(&node.address, desired, &node.schema);
        if let (Action::Read, Some(Observed::Present(found))) = (action, self.request.observed.get(&node.urn))
        {
            known.id = Value::Str(found.id.clone());
            known.outputs = node.schema.mark_outputs(&found.outputs, &known.inputs);
            known.pending = None;
        }
        Decided::plain(known, Some(id))
    }

    /// What changes of something that exists where it is taken over.
    fn taken_over(&self, node: &Node, found: &Present, desired: &Value) -> Vec<Change> {
        let nothing = || Value::Map(epid_provider::Map::default());
        let record = Record {
            urn: node.urn.clone(),
            kind: node.kind.clone(),
            id: found.id.clone(),
            applied: desired.clone(),
            resolved: nothing(),
            outputs: nothing(),
            incomplete: Vec::new(),
            attempted: Vec::new(),
        };
        let provider = self.request.providers.of(&node.kind);
        let drift = provider.map(|provider| provider.drift(&record, found));
        let turned = |change: Change| Change {
            before: change.after,
            after: change.before,
            ..change
        };
        let changes = drift.into_iter().flat_map(|drift| drift.changes);
        changes.map(turned).collect()
    }

    fn existing(
        &mut self,
        node: &'a Node,
        entry: &'a Entry,
        moved: bool,
        desired: Value,
        after: Vec<StepId>,
    ) -> Decided {
        let observed = self.request.observed.get(&entry.record.urn);
        if self.gone.contains(&entry.record.urn) {
            if let Some(Observed::Absent) = observed {
                self.drift.push(Drift::gone(&node.urn));
            }
            if self.request.refresh == Refresh::Record {
                return self.record_gone(node, entry, desired, after);
            }
            return self.recreate(node, entry, desired, after);
        }
        let (mut desired, mut overrides) = settle(node, entry, desired);
        let mut diff = self.difference(node, entry, &desired);
        let (mut drifted, mut unmarked) = (false, entry.unmarked);
        if let Some(Observed::Present(present)) = observed {
            let mark = self.mark_drift(node, entry, present);
            if let Some(LostMark::Another(whose)) = &mark {
                let replaced = self.forced.contains(&node.urn) || self.replaced_with(node, entry).is_some();
                let unfinished = unmarked || !entry.record.incomplete.is_empty();
                let changes =
                    (replaced || unfinished || !diff.is_empty()) && self.request.refresh != Refresh::Record;
                // Nor does its record move: what depends on it would be recorded with a name that is not there.
                return self.leave_alone(node, entry, whose, changes || moved, after);
            }
            unmarked |= mark.is_some();
            let accepted;
            (drifted, accepted) = self.drifted(node, entry, present, &desired, &mut diff);
            for (path, seen) in &accepted {
                desired = overlay(&desired, path.segments(), seen);
            }
            overrides.extend(accepted);
        }
        let mut own = diff.replace();
        let asked = self.forced.contains(&node.urn);
        let with = if asked {
            own = Replace::Yes;
            Some(node.urn.clone())
        } else {
            self.replaced_with(node, entry)
        };
        if with.is_some() {
            force(&mut diff);
        }
        let is_provider = provider_type(&node.kind).is_some();
        if is_provider && diff.replace() != Replace::No {
            return self.reconnect(node, entry, desired, after);
        }
        match diff.replace() {
            _ if is_provider && diff.is_empty() => self.keep(node, entry, moved, desired, overrides, after),
            _ if is_provider => self.change(node, entry, Action::Connect, desired, &diff, overrides, after),
            _ if node.schema.lookup && diff.is_empty() => {
                self.keep(node, entry, moved, desired, overrides, after)
            }
            _ if node.schema.lookup => {
                self.change(node, entry, Action::Read, desired, &diff, overrides, after)
            }
            Replace::No
                if diff.is_empty()
                    && !drifted
                    && entry.record.incomplete.is_empty()
                    && (!unmarked || self.request.refresh == Refresh::Record) =>
            {
                let mut kept = self.keep(node, entry, moved, desired, overrides, after.clone());
                if unmarked && !entry.unmarked {
                    self.record_unmarked(node, entry, &mut kept, after);
                }
                kept
            }
            promise => {
                let decided = if promise == Replace::No {
                    self.change(node, entry, Action::Update, desired, &diff, overrides, after)
                } else {
                    self.replace(node, entry, own, desired, &diff, overrides, after)
                };
                if let Some(step) = decided.step.and_then(|id| self.steps.get_mut(id as usize)) {
                    step.undo_drift = drifted;
                    step.unmarked = unmarked && step.action == Action::Update;
                    if step.action == Action::Update {
                        step.unfinished.clone_from(&entry.record.incomplete);
                    }
                    step.replaced_with = with;
                }
                decided
            }
        }
    }

    fn difference(&self, node: &Node, entry: &Entry, desired: &Value) -> Diff {
        let Some(provider) = self.request.providers.of(&node.kind) else {
            return Diff::default();
        };
        let wanted = Desired {
            urn: node.urn.clone(),
            kind: node.kind.clone(),
            properties: desired.clone(),
        };
        let mut diff = if provider_type(&node.kind).is_some() {
            epid_provider::diff(&provider.config(), &entry.record.applied, desired)
        } else {
            provider.diff(&entry.record, &wanted)
        };
        for change in &mut diff.changes {
            if covered(&node.options.replace_on_changes, &change.path) {
                let certain = !change.before.has_unknown() && !change.after.has_unknown();
                change.replace = change
                    .replace
                    .max(if certain { Replace::Yes } else { Replace::IfChanged });
            }
        }
        diff
    }

    /// The record that a resource keeps; under a new name, one that nothing there has had.
    pub(super) fn same(&self, node: &Node, entry: &Entry) -> RecordKey {
        if self.highest.contains_key(&node.urn) && entry.record.urn != node.urn {
            return self.next(node);
        }
        RecordKey {
            urn: node.urn.clone(),
            generation: entry.generation,
        }
    }

    fn keep(
        &mut self,
        node: &Node,
        entry: &Entry,
        moved: bool,
        desired: Value,
        overrides: Vec<(Path, Value)>,
        after: Vec<StepId>,
    ) -> Decided {
        let facts = facts(node);
        let kept = |path: &Path| overrides.iter().any(|(p, _)| p == path);
        let dropped = entry.overrides.keys().any(|path| !kept(path));
        let action = if moved || dropped || !facts.describes(entry) || entry.record.applied != desired {
            Some(Action::Record)
        } else if after.is_empty() {
            None
        } else {
            Some(Action::Nothing)
        };
        if provider_type(&node.kind).is_none() {
            self.unchanged += 1;
        }
        let step = action.map(|action| {
            let target = self.same(node, entry);
            let mut step = self.step(node, action, target, after);
            step.expected = Duration::ZERO;
            step.from = moved.then(|| entry.key_of());
            step.desired = (action == Action::Record).then(|| inputs(node, overrides));
            self.push(step)
        });
        let known = Known {
            inputs: desired,
            ..Known::recorded(&entry.record, Some(node.schema.clone()))
        };
        Decided::plain(known, step)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one decision, each used once"
    )]
    fn change(
        &mut self,
        node: &'a Node,
        entry: &'a Entry,
        action: Action,
        desired: Value,
        diff: &Diff,
        overrides: Vec<(Path, Value)>,
        after: Vec<StepId>,
    ) -> Decided {
        let target = self.same(node, entry);
        let mut step = self.step(node, action, target, after);
        step.desired = Some(inputs(node, overrides));
        step.changes = shown(&diff.changes);
        step.from = Some(entry.key_of());
        let id = self.push(step);
        let known = updated(&node.address, entry, desired, &node.schema, &diff.changes);
        Decided::plain(known, Some(id))
    }

    /// Two live resources that the cloud would call the same are one resource, and what it calls them is no secret. Notes the names of what is made anew.
    fn check_identities(&mut self) {
        let mut made = HashMap::new();
        let mut seen: HashMap<(Realm, Key), &Node> = HashMap::new();
        for node in self.request.graph.nodes() {
            let (Some(provider), Some(decided)) =
                (self.request.providers.of(&node.kind), self.decided.get(&node.urn))
            else {
                continue;
            };
            if provider_type(&node.kind).is_some() || node.schema.lookup {
                continue;
            }
            let inputs = &decided.known.inputs;
            let made_anew = decided.known.pending.is_some();
            // What is there already keeps its name.
            if made_anew && is_named_by_secret(&**provider, &node.kind, inputs) {
                let message = format!("the name of `{}` depends on a secret", node.address);
                self.problems
                    .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(SECRET_NAME));
            }
            let Some(key) = provider.identity(&node.kind, inputs) else {
                continue;
            };
            let name = (self.realm(node.provider.as_ref()), key);
            if let Some(first) = seen.get(&name) {
                let message = format!(
                    "`{}` and `{}` are the same resource: {}",
                    first.address, node.address, name.1
                );
                self.problems.push(
                    PlanProblem::new(Some(&node.urn), node.span, message)
                        .hint("give one of them another name"),
                );
            } else {
                if made_anew {
                    made.insert(name.clone(), node.urn.clone());
                }
                seen.insert(name, node);
            }
        }
        self.made_keys = made;
    }
}
