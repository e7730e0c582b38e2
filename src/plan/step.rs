//! The plan as data: steps, what each promises, and what must be done before it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Kind, Op, Path, Replace, Urn, Value};
use serde::{Deserialize, Serialize};

use crate::expression::Located;
use crate::graph::{Names, Selector};
use crate::state::{RecordKey, Timeouts};

/// What a run will do: steps in an order that is already right, and everything needed to execute them.
///
/// A plan is data. Executing it needs the providers and the state it was made for, and nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The version of this shape; [`Plan::FORMAT`].
    pub format: u32,
    /// What it was made for.
    pub header: PlanHeader,
    /// The steps; a step's id is its position, and every `after` points backwards.
    pub steps: Vec<Step>,
    /// Resources that need nothing; providers do not count.
    pub unchanged: usize,
    /// What somebody changed outside epid.
    pub drift: Vec<Drift>,
    /// What names in expressions stand for.
    pub names: Arc<Names>,
    /// The stack's outputs, evaluated when all steps are done.
    pub outputs: Vec<PlannedOutput>,
}

/// What a plan was made for; applied to anything else it is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanHeader {
    /// The project.
    pub project: Arc<str>,
    /// The stack.
    pub stack: Arc<str>,
    /// The world of the state: `sandbox:<id>` or `cloud`.
    pub world: Arc<str>,
    /// The lineage of the state; empty for a stack that has none yet.
    pub lineage: Arc<str>,
    /// The serial of the state.
    pub serial: u64,
    /// Up or destroy.
    pub mode: Mode,
    /// It is limited to a selection: what is outside may not exist yet.
    pub limited: bool,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Make the world as the program says.
    Up,
    /// Remove everything: the plan of the empty program.
    Destroy,
}

/// The position of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId(pub u32);

/// One thing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Its position.
    pub id: StepId,
    /// What to do.
    pub action: Action,
    /// The record it makes, changes or removes.
    pub target: RecordKey,
    /// Where the program declares it: `curator/deployment`.
    pub address: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// The steps that must have succeeded before.
    pub after: Vec<StepId>,
    /// It runs only if one of these steps really replaced; otherwise it is done without doing anything. Empty: it runs.
    pub only_if_replaced: Vec<StepId>,
    /// What the program wants, for steps that send inputs.
    pub desired: Option<PlannedInputs>,
    /// The leaves that change. With unknown values it is a bound: apply may find fewer.
    pub changes: Vec<PlannedChange>,
    /// The options that will be recorded otherwise than they are, below `options`: nothing is sent for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<PlannedChange>,
    /// It is replaced whatever its values are, if that resource is: its connection, or what it is in or stands on. Itself,
    /// where a person asked for it.
    pub replaced_with: Option<Urn>,
    /// It puts back what somebody changed: sent even where the inputs are those that were applied.
    pub undo_drift: bool,
    /// The resource bears no mark of this stack: an update marks it, whatever else it changes; a record says so. Nothing is
    /// sent before it was looked at whose it is by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmarked: bool,
    /// What an earlier run left undone of the resource, which an update finishes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<String>,
    /// The resource was seen to be gone, and only its record follows: vacant where it is to be made again, else dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// What an import or adoption was seen to find; `None` where nobody could look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// The record that becomes this one: a rename, or the generation an update or replacement starts from.
    pub from: Option<RecordKey>,
    /// It removes a generation that an earlier run replaced and could not delete.
    pub leftover: bool,
    /// Records that die with this one and leave the state in the same entry.
    pub takes: Vec<RecordKey>,
    /// The provider node it is called through; `None` for provider nodes themselves.
    pub provider: Option<Urn>,
    /// What the record will say besides inputs and outputs.
    pub facts: Facts,
    /// How long it usually takes.
    pub expected: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// The mutex it holds: class, and the input whose value names the instance.
    pub mutex: Option<(Arc<str>, Arc<str>)>,
    /// The declaration, as `file:line`.
    pub source: Option<Arc<str>>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Make it.
    Create,
    /// Change it in place, perhaps not at all.
    Update,
    /// Make the next generation while the old one lives; the old one becomes condemned. Where the changes turn out
    /// not to force it: update in place, or nothing.
    Replace,
    /// Decide, with all inputs known, whether a delete-first replacement is needed at all.
    Decide,
    /// Remove it to make room for its next generation; it becomes vacant.
    Vacate,
    /// Make it again after [`Action::Vacate`]; if that did not run: update in place, or nothing.
    Refill,
    /// Remove it.
    Delete,
    /// Look it up and pin what is found.
    Read,
    /// Take an existing resource into the state by id, then update it.
    Import,
    /// Take an existing resource that nobody owns, found by its name, then update it; create it where there is none.
    Adopt,
    /// Leave it in the cloud and drop its record.
    Forget,
    /// Drop the record of what is in no cloud, or there under another record: a lookup, a connection, a vacancy.
    Drop,
    /// Only the record changes: options, edges, a rename, accepted drift.
    Record,
    /// Open a connection: a provider node.
    Connect,
    /// Nothing by itself; it keeps order between what it depends on and what depends on it.
    Nothing,
}

impl Action {
    /// True where the step changes something in a cloud.
    #[must_use]
    pub fn touches_cloud(self) -> bool {
        !matches!(
            self,
            Self::Decide
                | Self::Read
                | Self::Forget
                | Self::Drop
                | Self::Record
                | Self::Connect
                | Self::Nothing
        )
    }

    /// True where the step sends inputs to a provider.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Update
                | Self::Replace
                | Self::Refill
                | Self::Import
                | Self::Adopt
                | Self::Read
        )
    }

    /// True where the step removes something from a cloud.
    #[must_use]
    pub fn removes(self) -> bool {
        matches!(self, Self::Vacate | Self::Delete)
    }
}

/// The inputs of a step: expressions, resolved when what they refer to is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedInputs {
    /// The declared properties.
    pub properties: Located,
    /// `each.key` and `each.value`, for an instance of `forEach`.
    pub each: Option<(Arc<str>, Value)>,
    /// The id to import.
    pub import: Option<Arc<str>>,
    /// What is imported is recorded as it is: where it differs, the next plan says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record_only: bool,
    /// Values that replace those of the program: ignored changes and accepted drift.
    pub overrides: Vec<(Path, Value)>,
}

/// A leaf that changes, as promised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedChange {
    /// Where.
    pub path: Path,
    /// What happens to it.
    pub op: Op,
    /// The old value, for people: secrets hidden.
    pub before: String,
    /// The new value, for people: secrets hidden, unknown values with their origin.
    pub after: String,
    /// Whether it forces a replacement.
    pub replace: Replace,
}

/// What a record says besides inputs and outputs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// What it depends on.
    pub dependencies: Vec<Urn>,
    /// What it dies with.
    pub deleted_with: Option<Urn>,
    /// What must live as long as it does.
    pub served_by: Vec<Urn>,
    /// It has effects outside its container.
    pub outside: bool,
    /// It may not be deleted or replaced.
    pub protect: bool,
    /// It stays in the cloud when its record goes.
    pub retain_on_delete: bool,
    /// Paths that are left as they are.
    pub ignore_changes: Vec<Path>,
    /// Whether a replacement deletes first, where the program says so.
    pub delete_before_replace: Option<bool>,
    /// Paths whose change replaces.
    pub replace_on_changes: Vec<Path>,
    /// How long operations may take, where the program says so.
    pub timeouts: Timeouts,
}

/// Something that was changed outside epid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drift {
    /// The resource.
    pub urn: Urn,
    /// It is gone.
    pub gone: bool,
    /// It is not marked as this stack's any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<LostMark>,
    /// The leaves that differ from what was applied.
    pub changes: Vec<PlannedChange>,
}

/// What became of the mark that says whose a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LostMark {
    /// Somebody removed it: the resource is nobody's.
    Removed,
    /// It is that of another stack, told as its resource or its lineage.
    Another(Arc<str>),
}

/// What was found where a resource is to be taken over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Found {
    /// Its id; `None` where there is nothing.
    pub id: Option<Arc<str>>,
    /// It bears this stack's mark; without one it is nobody's.
    pub marked: bool,
}

/// An output of the stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedOutput {
    /// Its name.
    pub name: Arc<str>,
    /// Its value.
    pub value: Located,
    /// It is treated as a secret.
    pub secret: bool,
    /// Its value once the plan is executed, as far as that can be told.
    pub foreseen: Value,
}

/// Which resources a run is limited to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Only these; empty means all.
    pub targets: Vec<Selector>,
    /// Not these, nor what depends on them.
    pub excludes: Vec<Selector>,
    /// Replace these even if nothing asks for it.
    pub replace: Vec<Selector>,
}

impl Drift {
    /// Of a resource that is gone.
    pub(super) fn gone(urn: &Urn) -> Self {
        Self {
            urn: urn.clone(),
            gone: true,
            mark: None,
            changes: Vec::new(),
        }
    }
}

impl Facts {
    fn needs(&self) -> impl Iterator<Item = &Urn> {
        let edges = self.dependencies.iter().chain(&self.served_by);
        edges.chain(&self.deleted_with)
    }
}

impl Step {
    /// True where there is no record of that name before.
    fn names(&self) -> bool {
        match &self.from {
            Some(from) => from.urn != self.target.urn,
            None => matches!(
                self.action,
                Action::Create | Action::Import | Action::Adopt | Action::Read | Action::Connect
            ),
        }
    }

    /// True for an adoption that was seen to find nothing: it is a create, and takes over nothing that is there by then.
    #[must_use]
    pub fn makes(&self) -> bool {
        matches!(self.found, Some(Found { id: None, .. }))
    }

    /// True for a provider whose configuration is another than the recorded one.
    #[must_use]
    pub fn reconfigures(&self) -> bool {
        self.action == Action::Connect && self.from.is_some() && !self.changes.is_empty()
    }
}

impl Plan {
    /// The version of the shape this build writes and reads.
    pub const FORMAT: u32 = 1;

    /// True where no step would do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| match step.action {
            Action::Nothing => true,
            Action::Connect => !step.reconfigures(),
            _ => false,
        })
    }

    /// This plan with only some of its steps. Steps that wait for one that is left out do not wait for it.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&Step) -> bool) -> Self {
        let mut places: Vec<Option<StepId>> = vec![None; self.steps.len()];
        let mut kept: Vec<Step> = Vec::new();
        for step in self.steps.into_iter().filter(keep) {
            let id = StepId(u32::try_from(kept.len()).unwrap_or(u32::MAX));
            if let Some(place) = places.get_mut(step.id.0 as usize) {
                *place = Some(id);
            }
            kept.push(Step { id, ..step });
        }
        let place = |id: &StepId| places.get(id.0 as usize).copied().flatten();
        for step in &mut kept {
            step.after = step.after.iter().filter_map(place).collect();
            step.only_if_replaced = step.only_if_replaced.iter().filter_map(place).collect();
        }
        self.steps = kept;
        self.header.limited = true;
        self
    }

    /// This plan with those steps only that change records. What needs something that a step which is left out would have
    /// made or renamed is recorded when that is there.
    #[must_use]
    pub fn records_alone(self) -> Self {
        let mut absent: HashSet<Urn> = HashSet::new();
        let mut kept: HashSet<StepId> = HashSet::new();
        for step in &self.steps {
            let waits = step.desired.is_some() && step.facts.needs().any(|urn| absent.contains(urn));
            if step.gone || (step.action == Action::Record && !waits) {
                kept.insert(step.id);
            } else if step.names() {
                absent.insert(step.target.urn.clone());
            }
        }
        self.only(|step| kept.contains(&step.id))
    }

    /// This plan with imports that send nothing: what differs from the program is left for a later one.
    #[must_use]
    pub fn recording_only(mut self) -> Self {
        for step in self.steps.iter_mut().filter(|step| step.action == Action::Import) {
            if let Some(desired) = &mut step.desired {
                desired.record_only = true;
            }
        }
        self
    }

    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(id.0 as usize)
    }
}
