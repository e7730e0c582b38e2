//! Makes the steps of what was decided, and the plan of all steps.

use std::sync::Arc;

use epid_provider::{Change, KindSchema, Op, Path, Replace, Segment, Type, Urn, Value};

use super::facts::facts;
use super::planner::Planner;
use super::problem::PlanProblem;
use super::step::{Action, Facts, Plan, PlanHeader, PlannedInputs, PlannedOutput, Step, StepId};
use crate::expression::{Span, derived_marks};
use crate::graph::{Node, View};
use crate::state::RecordKey;

impl Planner<'_> {
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
            leftover: false,
            undo_drift: false,
            unmarked: false,
            unfinished: Vec::new(),
            gone: false,
            found: None,
            desired: None,
            changes: Vec::new(),
            options: Vec::new(),
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

    /// The stack's outputs, with what can be told of them.
    fn outputs(&self) -> Vec<PlannedOutput> {
        let known = |urn: &Urn| self.known(urn);
        let view = View::new(self.request.graph.names(), None, &known, self.request.digests);
        let output = |(name, value, secret): &(Arc<str>, crate::expression::Located, bool)| {
            let foreseen = value.template.evaluate(&view);
            let foreseen = foreseen.unwrap_or_else(|_| Value::unknown(name));
            PlannedOutput {
                name: name.clone(),
                value: value.clone(),
                secret: *secret,
                foreseen: if *secret {
                    let marked = foreseen.clone().into_secret();
                    derived_marks(self.request.digests, &foreseen, marked)
                } else {
                    foreseen
                },
            }
        };
        self.request.graph.outputs().iter().map(output).collect()
    }

    /// All steps in order, or everything that stands in the way.
    pub(super) fn finish(self) -> Result<Plan, Vec<PlanProblem>> {
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
        let outputs = self.outputs();
        let entries = &self.request.snapshot.entries;
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
                if let Some(entry) = entries.get(step.from.as_ref().unwrap_or(&step.target))
                    && step.desired.is_some()
                {
                    step.options = step.facts.options_since(&Facts::of(entry));
                }
                step
            });
        let header = &self.request.snapshot.header;
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
            outputs,
        })
    }
}

fn cycle_problem(steps: &[Step], cycle: &[u32]) -> PlanProblem {
    let name = |id: &u32| {
        steps
            .get(*id as usize)
            .map(|s| format!("{} {}", doing(s.action), s.address))
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

/// What a step does, in a word for people.
fn doing(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update | Action::Record => "change",
        Action::Replace | Action::Decide => "replace",
        Action::Vacate | Action::Delete => "delete",
        Action::Refill => "make again",
        Action::Read => "look up",
        Action::Import => "import",
        Action::Adopt => "adopt",
        Action::Forget | Action::Drop => "forget",
        Action::Connect => "connect",
        Action::Nothing => "keep",
    }
}

/// Every top-level property as an addition.
pub(super) fn leaves(schema: &KindSchema, desired: &Value) -> Vec<Change> {
    let mut changes =
        epid_provider::diff(schema, &Value::Map(epid_provider::Map::default()), desired).changes;
    for change in &mut changes {
        change.replace = Replace::No;
    }
    changes
}

/// Everything that is declared of what is about to be made, leaf by leaf: it is shown, and promises all of the resource.
pub(super) fn declared(schema: &KindSchema, desired: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    for change in leaves(schema, desired) {
        let field = match change.path.segments() {
            [Segment::Key(name)] => schema.inputs.field(name),
            _ => None,
        };
        let ty = field.map_or(&Type::Any, |field| &field.ty);
        spread(ty, &change.path, &change.after, &mut found);
    }
    found
}

fn spread(ty: &Type, path: &Path, value: &Value, into: &mut Vec<Change>) {
    match value {
        Value::Map(map) if !map.is_empty() => {
            for (key, value) in map.iter() {
                let ty = match ty {
                    Type::Object(object) => object.field(key).map_or(&Type::Any, |field| &field.ty),
                    Type::Map(item) => item,
                    _ => &Type::Any,
                };
                spread(ty, &path.join(Segment::Key(key.clone())), value, into);
            }
        }
        Value::List(items)
            if items
                .iter()
                .any(|item| matches!(item, Value::Map(_) | Value::List(_))) =>
        {
            for (at, item) in items.iter().enumerate() {
                let by_index = (&Type::Any, Segment::Index(at));
                let (ty, segment) = match ty {
                    Type::Keyed(object, keys) => {
                        match (&**keys, keys.first().and_then(|key| item.get(key))) {
                            ([_], Some(Value::Str(name))) => {
                                (&Type::Object(object.clone()), Segment::Element(name.clone()))
                            }
                            _ => (&Type::Object(object.clone()), Segment::Index(at)),
                        }
                    }
                    Type::List(item) | Type::Set(item) => (&**item, Segment::Index(at)),
                    _ => by_index,
                };
                spread(ty, &path.join(segment), item, into);
            }
        }
        leaf => into.push(Change {
            path: path.clone(),
            op: Op::Add,
            before: Value::Null,
            after: leaf.clone(),
            replace: Replace::No,
        }),
    }
}

pub(super) fn inputs(node: &Node, overrides: Vec<(Path, Value)>) -> PlannedInputs {
    PlannedInputs {
        properties: node.properties.clone(),
        each: node.each.clone(),
        import: node.options.import.clone(),
        record_only: false,
        overrides,
    }
}
