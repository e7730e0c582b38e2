//! Walks the graph once, dependencies first, and decides for each resource what becomes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{
    Change, Desired, Diff, Key, KindSchema, Observed, Op, Path, Present, Provider, Replace, Urn, Value,
};

use super::desired::{at, covered, recorded, shown, updated};
use super::problem::PlanProblem;
use super::removal;
use super::step::{
    Action, Drift, Facts, Mode, Plan, PlanHeader, PlannedInputs, PlannedOutput, Selection, Step, StepId,
};
use crate::expression::Span;
use crate::graph::{Known, Node, Providers, ResourceGraph, Selector, View, overlay, provider_type, unmade};
use crate::state::{Entry, Generation, RecordKey, Role, Snapshot, Timeouts};

/// What was found by looking, by resource; resources that were not looked at are not in it.
pub type Observations = BTreeMap<Urn, Observed>;

/// What to do about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// Put it back as the program says.
    #[default]
    Undo,
    /// Keep it until the program changes that path.
    Accept,
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
    /// The keyed digest of secret content.
    pub digest: &'a dyn Fn(&[u8]) -> Option<String>,
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
    /// That step deletes it.
    Vacated(u32),
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
    fn plain(known: Known, step: Option<u32>) -> Self {
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
    vacant: HashMap<&'a Urn, &'a Entry>,
    highest: HashMap<&'a Urn, Generation>,
    /// Records that a node has taken over: they are no orphans.
    pub(super) claimed: HashMap<RecordKey, &'a Urn>,
    pub(super) decided: HashMap<Urn, Decided>,
    /// Old generations to be removed because of a replacement.
    pub(super) outgoing: Vec<(&'a Entry, Outgoing)>,
    /// What the cloud will call what is made anew, and for which resource.
    pub(super) made_keys: HashMap<(Option<Urn>, Key), Urn>,
    pub(super) steps: Vec<Step>,
    pub(super) problems: Vec<PlanProblem>,
    drift: Vec<Drift>,
    unchanged: usize,
    orphans_by_key: HashMap<(Option<&'a Urn>, &'a Key), &'a Entry>,
    targets: Option<BTreeSet<Urn>>,
    excludes: BTreeSet<Urn>,
    /// What excluded records need.
    kept: BTreeSet<Urn>,
    /// Live records of which nothing exists any more: seen to be absent, or in something that is.
    pub(super) gone: HashSet<Urn>,
    forced: BTreeSet<Urn>,
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
                        planner
                            .orphans_by_key
                            .insert((entry.provider.as_ref().map(|p| &p.urn), key), entry);
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

    fn select(&mut self) {
        let selection = self.request.selection;
        let mut targets = self.resolve(&selection.targets);
        let nodes = self
            .request
            .graph
            .nodes()
            .filter(|node| targets.contains(&node.urn));
        // A connection is only a way to get there.
        let connections: Vec<Urn> = nodes.filter_map(|node| node.provider.clone()).collect();
        targets.extend(connections);
        self.targets = (!selection.targets.is_empty()).then_some(targets);
        self.excludes = self.resolve(&selection.excludes);
        self.forced = self.resolve(&selection.replace);
        if !self.excludes.is_empty() {
            for node in self.request.graph.nodes() {
                if node.edges.iter().any(|edge| self.excludes.contains(&edge.to)) {
                    self.excludes.insert(node.urn.clone());
                }
            }
            let mut open: Vec<Urn> = self.excludes.iter().cloned().collect();
            while let Some(urn) = open.pop() {
                for entry in self.request.snapshot.of(&urn) {
                    let below = removal::needs(entry).into_iter();
                    open.extend(below.filter(|urn| self.kept.insert((*urn).clone())).cloned());
                }
            }
        }
    }

    /// The resources that selectors name: in the program, and in the state.
    fn resolve(&mut self, selectors: &[Selector]) -> BTreeSet<Urn> {
        let mut found = BTreeSet::new();
        for selector in selectors {
            let before = found.len();
            found.extend(
                self.request
                    .graph
                    .nodes()
                    .filter(|n| selector.matches(&n.urn))
                    .map(|n| n.urn.clone()),
            );
            let recorded = self.request.snapshot.entries.keys().map(|key| &key.urn);
            found.extend(recorded.filter(|urn| selector.matches(urn)).cloned());
            if found.len() == before {
                let mut problem =
                    PlanProblem::new(None, Span::NONE, format!("no resource is called `{selector}`"));
                let names: Vec<&str> = self.request.graph.nodes().map(|n| &*n.address).collect();
                if let Some(near) = epid_provider::check::nearest(&selector.to_string(), names) {
                    problem = problem.hint(format!("did you mean `{near}`?"));
                }
                self.problems.push(problem);
            }
        }
        found
    }

    pub(super) fn selected(&self, urn: &Urn) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.contains(urn)) && !self.excludes.contains(urn)
    }

    /// False for a record that stays because the run is not about it, or because what is excluded needs it.
    pub(super) fn leaves(&self, urn: &Urn) -> bool {
        self.selected(urn) && !self.kept.contains(urn)
    }

    pub(super) fn next_generation(&self, urn: &Urn) -> Generation {
        self.highest
            .get(urn)
            .map_or(Generation(1), |g| Generation(g.0 + 1))
    }

    fn view<'v>(&'v self, node: &'v Node, known: &'v dyn Fn(&Urn) -> Option<Known>) -> View<'v> {
        View::new(
            self.request.graph.names(),
            node.each.as_ref(),
            known,
            self.request.digest,
        )
    }

    fn known(&self, urn: &Urn) -> Option<Known> {
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
            .get(&(node.provider.as_ref(), &key))
            .copied()?;
        let same = entry.record.kind.unversioned() == node.kind.unversioned();
        (same && free(entry)).then_some((entry, true))
    }

    fn node(&mut self, node: &'a Node) {
        let desired = {
            let known = |urn: &Urn| self.known(urn);
            node.properties.template.evaluate(&self.view(node, &known))
        };
        let desired = match desired {
            Ok(value) => node.schema.mark_inputs(&value),
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

    /// A node the run is not about: it contributes what is recorded.
    fn outside(&mut self, node: &Node, entry: Option<&Entry>) -> Decided {
        let known = entry.map(|e| recorded(e, Some(node.schema.clone())));
        let half_made = entry.filter(|e| !e.record.incomplete.is_empty());
        if half_made.is_some() && self.needed_inside(node) {
            let message = format!(
                "`{}` is needed and only half made, but is not part of this run",
                node.address
            );
            let hint = format!("add --target {}, or run without a selection", node.address);
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        if known.is_none() && self.needed_inside(node) {
            let message = format!(
                "`{}` is needed and does not exist yet, but is not part of this run",
                node.address
            );
            let hint = format!("add --target {}, or run without a selection", node.address);
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        let empty = || {
            unmade(
                &node.address,
                Value::Map(epid_provider::Map::default()),
                &node.schema,
            )
        };
        Decided::plain(known.unwrap_or_else(empty), None)
    }

    fn needed_inside(&self, node: &Node) -> bool {
        self.request
            .graph
            .dependents(&node.urn)
            .iter()
            .any(|urn| self.selected(urn))
    }

    fn new_resource(&mut self, node: &'a Node, desired: Value, after: Vec<StepId>) -> Decided {
        let action = match (&node.options.import, node.options.adopt) {
            _ if provider_type(&node.kind).is_some() => Action::Connect,
            _ if node.schema.lookup => Action::Read,
            (Some(_), _) => Action::Import,
            (None, true) => Action::Adopt,
            (None, false) => Action::Create,
        };
        let changes: Vec<Change> = leaves(&node.schema, &desired);
        let target = RecordKey {
            urn: node.urn.clone(),
            generation: self.next_generation(&node.urn),
        };
        let mut step = self.step(node, action, target, after);
        step.desired = Some(inputs(node, Vec::new()));
        step.changes = shown(&changes);
        if let Some(vacant) = self.vacant.get(&node.urn).copied() {
            step.takes.push(vacant.key_of());
            self.claimed.insert(vacant.key_of(), &node.urn);
        }
        let id = self.push(step);
        Decided::plain(unmade(&node.address, desired, &node.schema), Some(id))
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
                self.drift.push(Drift {
                    urn: node.urn.clone(),
                    gone: true,
                    changes: Vec::new(),
                });
            }
            return self.recreate(node, entry, desired, after);
        }
        let (mut desired, mut overrides) = settle(node, entry, desired);
        let mut diff = self.difference(node, entry, &desired);
        let mut drifted = false;
        if let Some(Observed::Present(present)) = observed {
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
            Replace::No if diff.is_empty() && !drifted && entry.record.incomplete.is_empty() => {
                self.keep(node, entry, moved, desired, overrides, after)
            }
            promise => {
                let decided = if promise == Replace::No {
                    self.change(node, entry, Action::Update, desired, &diff, overrides, after)
                } else {
                    self.replace(node, entry, own, desired, &diff, overrides, after)
                };
                if let Some(step) = decided.step.and_then(|id| self.steps.get_mut(id as usize)) {
                    step.undo_drift = drifted;
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

    /// Adds drift to the plan. True where an update has to put something back that the program did not change; and what
    /// is accepted instead.
    fn drifted(
        &mut self,
        node: &Node,
        entry: &Entry,
        present: &Present,
        desired: &Value,
        diff: &mut Diff,
    ) -> (bool, Vec<(Path, Value)>) {
        let Some(provider) = self.request.providers.of(&node.kind) else {
            return (false, Vec::new());
        };
        let mut drift = provider.drift(&entry.record, present);
        drift
            .changes
            .retain(|change| !covered(&node.options.ignore_changes, &change.path));
        if drift.is_empty() {
            return (false, Vec::new());
        }
        self.drift.push(Drift {
            urn: node.urn.clone(),
            gone: false,
            changes: shown(&drift.changes),
        });
        if self.request.refresh == Refresh::Accept {
            let seen = drift
                .changes
                .into_iter()
                .map(|change| (change.path, change.after));
            let asked = |path: &Path| diff.changes.iter().any(|c| c.path == *path);
            return (false, seen.filter(|(path, _)| !asked(path)).collect());
        }
        for change in drift.changes {
            if diff.changes.iter().any(|c| c.path == change.path) {
                continue;
            }
            let after = at(desired, change.path.segments());
            let op = if after.is_null() { Op::Remove } else { Op::Change };
            diff.changes.push(Change {
                path: change.path,
                op,
                before: change.after,
                after,
                replace: Replace::No,
            });
        }
        (true, Vec::new())
    }

    /// True where a resource was made through a connection that leads, or may lead, elsewhere than its own does now.
    fn connection_replaced(&self, node: &Node, entry: &Entry) -> bool {
        let (Some(now), Some(then)) = (&node.provider, &entry.provider) else {
            return false;
        };
        let replaced = |p: &Decided| p.replaced != Replaced::No;
        if *now != then.urn {
            return !self.leads_where(now, then);
        }
        self.decided.get(now).is_some_and(replaced)
            || self
                .live
                .get(now)
                .is_some_and(|p| p.generation != then.generation)
    }

    /// True where a provider node is configured as a recorded one was.
    fn leads_where(&self, now: &Urn, then: &RecordKey) -> bool {
        let (Some(decided), Some(recorded)) = (self.decided.get(now), self.request.snapshot.get(then)) else {
            return false;
        };
        let renamed = self.claimed.get(then) == Some(&now);
        let provider = self.request.providers.of(&recorded.record.kind);
        renamed
            || provider.is_some_and(|provider| {
                epid_provider::diff(
                    &provider.config(),
                    &recorded.record.applied,
                    &decided.known.inputs,
                )
                .is_empty()
            })
    }

    /// What a resource is replaced with, whatever its values are.
    fn replaced_with(&self, node: &Node, entry: &Entry) -> Option<Urn> {
        let replaced = |urn: &&Urn| self.decided.get(*urn).is_some_and(|d| d.replaced != Replaced::No);
        let connection = node
            .provider
            .as_ref()
            .filter(|_| self.connection_replaced(node, entry));
        let mut below = node.deleted_with.iter().chain(&node.stands_on);
        connection.or_else(|| below.find(replaced)).cloned()
    }

    /// The record that a resource keeps; under a new name, one that nothing there has had.
    fn same(&self, node: &Node, entry: &Entry) -> RecordKey {
        let taken = self.highest.contains_key(&node.urn) && entry.record.urn != node.urn;
        RecordKey {
            urn: node.urn.clone(),
            generation: if taken {
                self.next_generation(&node.urn)
            } else {
                entry.generation
            },
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
        self.unchanged += 1;
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
            ..recorded(entry, Some(node.schema.clone()))
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

    /// A record whose resource is gone is made again; the record goes with the create.
    fn recreate(&mut self, node: &'a Node, entry: &'a Entry, desired: Value, after: Vec<StepId>) -> Decided {
        let target = RecordKey {
            urn: node.urn.clone(),
            generation: self.next_generation(&node.urn),
        };
        let mut step = self.step(node, Action::Create, target, after);
        step.desired = Some(inputs(node, Vec::new()));
        step.changes = shown(&leaves(&node.schema, &desired));
        step.takes.push(entry.key_of());
        let id = self.push(step);
        let known = unmade(&node.address, desired, &node.schema);
        Decided {
            known,
            step: Some(id),
            replaced: Replaced::CreateFirst,
            decide: Vec::new(),
        }
    }

    /// A provider whose cluster is replaced: a new generation; the old one leaves with its last record.
    fn reconnect(&mut self, node: &'a Node, entry: &'a Entry, desired: Value, after: Vec<StepId>) -> Decided {
        let target = RecordKey {
            urn: node.urn.clone(),
            generation: self.next_generation(&node.urn),
        };
        let mut step = self.step(node, Action::Connect, target, after);
        step.desired = Some(inputs(node, Vec::new()));
        step.from = Some(entry.key_of());
        let id = self.push(step);
        let known = unmade(&node.address, desired, &node.schema);
        let container = node.deleted_with.as_ref().and_then(|urn| self.decided.get(urn));
        let below = container.filter(|container| container.replaced == Replaced::DeleteFirst);
        let (outgoing, replaced, decide) = match below {
            Some(below) => (Outgoing::Before, Replaced::DeleteFirst, below.decide.clone()),
            None => (Outgoing::After(id), Replaced::CreateFirst, Vec::new()),
        };
        self.outgoing.push((entry, outgoing));
        Decided {
            known,
            step: Some(id),
            replaced,
            decide,
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one decision, each used once"
    )]
    fn replace(
        &mut self,
        node: &'a Node,
        entry: &'a Entry,
        own: Replace,
        desired: Value,
        diff: &Diff,
        overrides: Vec<(Path, Value)>,
        after: Vec<StepId>,
    ) -> Decided {
        if entry.protect || node.options.protect {
            let why: Vec<String> = diff
                .changes
                .iter()
                .filter(|c| c.replace != Replace::No)
                .map(|c| c.path.to_string())
                .collect();
            let message = format!(
                "`{}` is protected, but {} would replace it",
                node.address,
                why.join(", ")
            );
            let hint = format!("set it back, or `epid state unprotect {}` first", node.address);
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        let replaced = self.replacement_order(node, entry, &desired);
        let target = RecordKey {
            urn: node.urn.clone(),
            generation: self.next_generation(&node.urn),
        };
        let (id, decide) = if replaced == Replaced::DeleteFirst {
            let pushed = self.pushed_by(node);
            let certain = own == Replace::Yes || pushed.as_ref().is_some_and(Vec::is_empty);
            let decide = match pushed {
                _ if certain => Vec::new(),
                Some(inherited) => inherited,
                None if own == Replace::IfChanged => {
                    let mut step = self.step(node, Action::Decide, target.clone(), after.clone());
                    step.desired = Some(inputs(node, overrides.clone()));
                    step.from = Some(entry.key_of());
                    step.expected = Duration::ZERO;
                    vec![self.push(step)]
                }
                None => Vec::new(),
            };
            let decides: Vec<StepId> = decide.iter().copied().map(StepId).collect();
            let mut vacate = self.step(node, Action::Vacate, entry.key_of(), decides.clone());
            vacate.only_if_replaced = decides;
            vacate.expected = node.schema.expected.delete;
            vacate.timeout = node
                .options
                .timeouts
                .delete
                .unwrap_or(node.schema.timeouts.delete);
            vacate.changes = shown(&diff.changes);
            vacate.facts = Facts::of(entry);
            vacate.provider = entry.provider.as_ref().map(|p| p.urn.clone());
            let vacate = self.push(vacate);
            self.outgoing.push((entry, Outgoing::Vacated(vacate)));
            let mut refill = self.step(node, Action::Refill, target, after);
            refill.after.push(StepId(vacate));
            refill.from = Some(entry.key_of());
            refill.desired = Some(inputs(node, overrides));
            refill.changes = shown(&diff.changes);
            (self.push(refill), decide)
        } else {
            let mut step = self.step(node, Action::Replace, target, after);
            step.from = Some(entry.key_of());
            step.desired = Some(inputs(node, overrides));
            step.changes = shown(&diff.changes);
            let id = self.push(step);
            self.outgoing.push((entry, Outgoing::After(id)));
            (id, Vec::new())
        };
        Decided {
            known: unmade(&node.address, desired, &node.schema),
            step: Some(id),
            replaced,
            decide,
        }
    }

    /// The steps of which any decides the delete-first replacements that a node is under: none where one is certain.
    /// `None` where it is under none.
    fn pushed_by(&self, node: &Node) -> Option<Vec<u32>> {
        let below = node.edges.iter().filter_map(|edge| self.decided.get(&edge.to));
        let below: Vec<&Decided> = below.filter(|d| d.replaced == Replaced::DeleteFirst).collect();
        if below.is_empty() {
            return None;
        }
        if below.iter().any(|d| d.decide.is_empty()) {
            return Some(Vec::new());
        }
        let mut decide: Vec<u32> = below.iter().flat_map(|d| &d.decide).copied().collect();
        decide.sort_unstable();
        decide.dedup();
        Some(decide)
    }

    /// Delete-first where both cannot live at once, where the program says so, or where what it stands on goes first.
    fn replacement_order(&mut self, node: &Node, entry: &Entry, desired: &Value) -> Replaced {
        // Elsewhere nothing of it is in the way.
        let elsewhere = self.connection_replaced(node, entry);
        let collision = self.collision(node, entry, desired).filter(|_| !elsewhere);
        let asked = node
            .options
            .delete_before_replace
            .filter(|first| !(*first && elsewhere));
        match (asked, collision) {
            (Some(false), Some(what)) => {
                let message = format!(
                    "`{}` has to be replaced and keeps {what}, so the old one must go first, but its options say \
                     deleteBeforeReplace = false",
                    node.address
                );
                let hint = format!("change {what} too, or drop the option");
                self.problems
                    .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
                Replaced::CreateFirst
            }
            (Some(true), _) | (None, Some(_)) => Replaced::DeleteFirst,
            (order, None) => {
                let Some(below) = self.goes_first(node, entry) else {
                    return Replaced::CreateFirst;
                };
                if order == Some(false) {
                    let message = format!(
                        "`{}` has to be replaced together with `{}`, which is deleted first and so cannot go before it, \
                         but its options say deleteBeforeReplace = false",
                        node.address,
                        below.path()
                    );
                    self.problems
                        .push(PlanProblem::new(Some(&node.urn), node.span, message).hint("drop the option"));
                }
                Replaced::DeleteFirst
            }
        }
    }

    /// What a node stands on, now and as it is recorded, and that is deleted before it is made again: the old one of the
    /// node has to go even before that.
    fn goes_first(&self, node: &Node, entry: &Entry) -> Option<Urn> {
        let below = |to: &&Urn| {
            self.decided
                .get(to)
                .is_some_and(|d| d.replaced == Replaced::DeleteFirst)
        };
        let recorded = |to: &&Urn| {
            let provider = entry.provider.as_ref().map(|p| &p.urn);
            entry.edges().chain(provider).any(|urn| urn == *to)
        };
        let mut edges = node.edges.iter().map(|edge| &edge.to);
        edges.find(|to| below(to) && recorded(to)).cloned()
    }

    /// What the old and the new one would both hold: the physical name, or an exclusive field that stays.
    fn collision(&self, node: &Node, entry: &Entry, desired: &Value) -> Option<String> {
        let provider: &Arc<dyn Provider> = self.request.providers.of(&node.kind)?;
        let applied = entry.record.resolved.merged(&entry.record.applied);
        if let (Some(old), Some(new)) = (
            provider.identity(&entry.record.kind, &applied),
            provider.identity(&node.kind, desired),
        ) && old == new
        {
            return Some("its name".to_owned());
        }
        let same = |field: &&epid_provider::Field| {
            let old = applied.get(&field.name);
            field.exclusive && old.is_some_and(|v| !v.is_null()) && old == desired.get(&field.name)
        };
        node.schema
            .inputs
            .fields
            .iter()
            .find(same)
            .map(|field| format!("`{}`", field.name))
    }

    /// Two live resources that the cloud would call the same are one resource. Notes the names of what is made anew.
    fn check_identities(&mut self) {
        let mut made = HashMap::new();
        let mut seen: HashMap<(Option<&Urn>, Key), &Node> = HashMap::new();
        for node in self.request.graph.nodes() {
            let (Some(provider), Some(decided)) =
                (self.request.providers.of(&node.kind), self.decided.get(&node.urn))
            else {
                continue;
            };
            if provider_type(&node.kind).is_some() || node.schema.lookup {
                continue;
            }
            let Some(key) = provider.identity(&node.kind, &decided.known.inputs) else {
                continue;
            };
            if let Some(first) = seen.get(&(node.provider.as_ref(), key.clone())) {
                let message = format!(
                    "`{}` and `{}` are the same resource: {key}",
                    first.address, node.address
                );
                self.problems.push(
                    PlanProblem::new(Some(&node.urn), node.span, message)
                        .hint("give one of them another name"),
                );
            } else {
                if decided.known.pending.is_some() {
                    made.insert((node.provider.clone(), key.clone()), node.urn.clone());
                }
                seen.insert((node.provider.as_ref(), key), node);
            }
        }
        self.made_keys = made;
    }

    pub(super) fn step(&self, node: &Node, action: Action, target: RecordKey, after: Vec<StepId>) -> Step {
        let schema = &node.schema;
        let (expected, timeout) = match action {
            Action::Update => (
                schema.expected.update,
                node.options.timeouts.update.unwrap_or(schema.timeouts.update),
            ),
            _ => (
                schema.expected.create,
                node.options.timeouts.create.unwrap_or(schema.timeouts.create),
            ),
        };
        Step {
            id: StepId(0),
            action,
            target,
            address: node.address.clone(),
            kind: node.kind.clone(),
            after,
            only_if_replaced: Vec::new(),
            replaced_with: None,
            undo_drift: false,
            desired: None,
            changes: Vec::new(),
            from: None,
            takes: Vec::new(),
            provider: node.provider.clone(),
            facts: facts(node),
            expected,
            timeout,
            mutex: schema
                .mutex
                .as_ref()
                .map(|m| (m.class.clone(), m.property.clone())),
            source: node.source.clone(),
        }
    }

    pub(super) fn push(&mut self, mut step: Step) -> u32 {
        let id = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        step.id = StepId(id);
        self.steps.push(step);
        id
    }

    fn finish(self) -> Result<Plan, Vec<PlanProblem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let after: Vec<Vec<u32>> = self
            .steps
            .iter()
            .map(|s| s.after.iter().map(|id| id.0).collect())
            .collect();
        let sorted = crate::graph::sort(&after).map_err(|cycles| {
            cycles
                .iter()
                .map(|cycle| cycle_problem(&self.steps, cycle))
                .collect::<Vec<_>>()
        })?;
        let mut place = vec![StepId(0); sorted.len()];
        for (position, old) in (0u32..).zip(&sorted) {
            place[*old as usize] = StepId(position);
        }
        let mut slots: Vec<Option<Step>> = self.steps.into_iter().map(Some).collect();
        let steps = sorted
            .iter()
            .filter_map(|old| slots[*old as usize].take())
            .map(|mut step| {
                step.id = place[step.id.0 as usize];
                step.after = step.after.iter().map(|id| place[id.0 as usize]).collect();
                step.after.sort_unstable();
                step.after.dedup();
                for id in &mut step.only_if_replaced {
                    *id = place[id.0 as usize];
                }
                step
            });
        let header = &self.request.snapshot.header;
        let output = |(name, value, secret): &(Arc<str>, crate::expression::Located, bool)| PlannedOutput {
            name: name.clone(),
            value: value.clone(),
            secret: *secret,
        };
        Ok(Plan {
            format: Plan::FORMAT,
            header: PlanHeader {
                project: header.project.clone(),
                stack: header.stack.clone(),
                world: header.world.clone(),
                lineage: header.lineage.clone(),
                serial: header.serial,
                mode: self.request.mode,
                limited: self.targets.is_some() || !self.excludes.is_empty(),
            },
            steps: steps.collect(),
            unchanged: self.unchanged,
            drift: self.drift,
            names: self.request.graph.shared_names(),
            outputs: self.request.graph.outputs().iter().map(output).collect(),
        })
    }
}

fn cycle_problem(steps: &[Step], cycle: &[u32]) -> PlanProblem {
    let name = |id: &u32| {
        steps
            .get(*id as usize)
            .map(|s| format!("{:?} {}", s.action, s.address))
            .unwrap_or_default()
    };
    let path: Vec<String> = cycle.iter().map(name).collect();
    PlanProblem::new(
        None,
        Span::NONE,
        format!("the steps wait for each other: {}", path.join(" → ")),
    )
    .hint("change the resources in two runs, or set deleteBeforeReplace on one of them")
}

/// What was seen to be absent, and everything in it.
fn gone(request: &Request<'_>) -> HashSet<Urn> {
    let absent = |(urn, seen): (&Urn, &Observed)| matches!(seen, Observed::Absent).then(|| urn.clone());
    let mut open: Vec<Urn> = request.observed.iter().filter_map(absent).collect();
    let mut inside: HashMap<&Urn, Vec<&Urn>> = HashMap::new();
    if !open.is_empty() {
        let entries = request.snapshot.entries.values();
        for entry in entries.filter(|e| e.role == Role::Live && provider_type(&e.record.kind).is_none()) {
            if let Some(container) = &entry.deleted_with {
                inside.entry(container).or_default().push(entry.urn());
            }
        }
    }
    let mut gone = HashSet::new();
    while let Some(urn) = open.pop() {
        open.extend(inside.remove(&urn).into_iter().flatten().cloned());
        gone.insert(urn);
    }
    gone
}

/// Every top-level property as an addition.
fn leaves(schema: &KindSchema, desired: &Value) -> Vec<Change> {
    let mut changes =
        epid_provider::diff(schema, &Value::Map(epid_provider::Map::default()), desired).changes;
    for change in &mut changes {
        change.replace = Replace::No;
    }
    changes
}

/// Ignored paths keep what was applied; so does accepted drift, until the program says something else than when it was
/// accepted.
fn settle(node: &Node, entry: &Entry, desired: Value) -> (Value, Vec<(Path, Value)>) {
    let mut settled = desired;
    let mut overrides = Vec::new();
    let ignored = node
        .options
        .ignore_changes
        .iter()
        .map(|p| (p, at(&entry.record.applied, p.segments())));
    let accepted = entry.overrides.iter().filter_map(|(path, said)| {
        let unchanged = at(&settled, path.segments()) == *said;
        unchanged.then(|| (path, at(&entry.record.applied, path.segments())))
    });
    let all: Vec<(Path, Value)> = ignored.chain(accepted).map(|(p, v)| (p.clone(), v)).collect();
    for (path, value) in all {
        settled = overlay(&settled, path.segments(), &value);
        overrides.push((path, value));
    }
    (settled, overrides)
}

/// Makes a diff replace whatever it says.
fn force(diff: &mut Diff) {
    if let Some(first) = diff.changes.first_mut() {
        first.replace = Replace::Yes;
    } else {
        diff.changes.push(Change {
            path: Path::root(),
            op: Op::Change,
            before: Value::Null,
            after: Value::Null,
            replace: Replace::Yes,
        });
    }
}

fn inputs(node: &Node, overrides: Vec<(Path, Value)>) -> PlannedInputs {
    PlannedInputs {
        properties: node.properties.clone(),
        each: node.each.clone(),
        import: node.options.import.clone(),
        overrides,
    }
}

fn facts(node: &Node) -> Facts {
    let mut dependencies: Vec<Urn> = node.edges.iter().map(|edge| edge.to.clone()).collect();
    dependencies.sort();
    dependencies.dedup();
    let t = node.options.timeouts;
    Facts {
        dependencies,
        deleted_with: node.deleted_with.clone(),
        served_by: node.served_by.clone(),
        outside: node.outside,
        protect: node.options.protect,
        retain_on_delete: node.options.retain_on_delete,
        ignore_changes: node.options.ignore_changes.clone(),
        delete_before_replace: node.options.delete_before_replace,
        replace_on_changes: node.options.replace_on_changes.clone(),
        timeouts: Timeouts {
            create: t.create,
            update: t.update,
            delete: t.delete,
        },
    }
}

impl Facts {
    /// The facts a record holds.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self {
            dependencies: entry.dependencies.clone(),
            deleted_with: entry.deleted_with.clone(),
            served_by: entry.served_by.clone(),
            outside: entry.outside,
            protect: entry.protect,
            retain_on_delete: entry.retain_on_delete,
            ignore_changes: entry.ignore_changes.clone(),
            delete_before_replace: entry.delete_before_replace,
            replace_on_changes: entry.replace_on_changes.clone(),
            timeouts: entry.timeouts,
        }
    }

    fn describes(&self, entry: &Entry) -> bool {
        *self == Self::of(entry)
    }
}
