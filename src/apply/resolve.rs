//! The last word on a step's inputs: expressions with actual values, compared with what was promised.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Change, Desired, Path, Record, Replace, Resolved, Urn, Value, diff, is_named_by_secret};

use super::event::Trouble;
use crate::expression::{Digests, Located, TemplateError};
use crate::graph::{Known, Providers, View, at, overlay, provider_type};
use crate::plan::{Action, Plan, PlannedChange, PlannedInputs, Promises, SECRET_NAME, Step};
use crate::state::Session;

/// What is left to do of an update or replacement, now that every value is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Nothing: the values are those that were applied.
    Same,
    /// A change in place.
    Update,
    /// A replacement.
    Replace(Vec<Path>),
}

/// The inputs of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    /// What is sent and recorded.
    pub(super) inputs: Resolved,
    /// Where something else than the program says is kept: what the program says.
    pub(super) overrides: BTreeMap<Path, Value>,
}

pub(super) struct Resolver<'a> {
    pub(super) plan: &'a Plan,
    pub(super) session: &'a Session,
    pub(super) providers: &'a Providers,
    pub(super) digests: &'a dyn Digests,
}

impl Resolver<'_> {
    fn known(&self, urn: &Urn) -> Option<Known> {
        self.session.with(|snapshot| {
            let record = &snapshot.live(urn)?.record;
            Some(Known::recorded(record, self.providers.schema(&record.kind)))
        })
    }

    /// A template's value as things stand.
    pub(super) fn value(
        &self,
        template: &Located,
        each: Option<&(Arc<str>, Value)>,
    ) -> Result<Value, Vec<TemplateError>> {
        let known = |urn: &Urn| self.known(urn);
        template
            .template
            .evaluate(&View::new(&self.plan.names, each, &known, self.digests))
    }

    /// The inputs of a step, all known; and of the paths whose value is kept, what the program says there.
    pub(super) fn inputs(&self, step: &Step, planned: &PlannedInputs) -> Result<Settled, Trouble> {
        let mut value = self
            .value(&planned.properties, planned.each.as_ref())
            .map_err(|errors| {
                let all: Vec<String> = errors
                    .iter()
                    .map(|e| format!("{}: {}", e.path, e.message))
                    .collect();
                Trouble::new("Expression", all.join("; "))
            })?;
        let schema = self.providers.schema(&step.kind);
        let marked = |value: Value| {
            schema
                .as_ref()
                .map_or_else(|| value.clone(), |s| s.mark_inputs(&value))
        };
        value = marked(value);
        let mut overrides = BTreeMap::new();
        for (path, kept) in &planned.overrides {
            if !step
                .facts
                .ignore_changes
                .iter()
                .any(|ignored| ignored.covers(path))
            {
                overrides.insert(path.clone(), at(&value, path.segments()));
            }
            value = overlay(&value, path.segments(), kept);
        }
        value = marked(value);
        let inputs = Resolved::new(value).map_err(|error| {
            Trouble::new("Unresolved", format!("{} is {error}", step.address))
                .hint("a resource that it needs was not made; run epid up again")
        })?;
        let names = matches!(
            step.action,
            Action::Create | Action::Adopt | Action::Import | Action::Replace | Action::Refill
        );
        let provider = self.providers.of(&step.kind).filter(|_| names);
        if provider.is_some_and(|provider| is_named_by_secret(&**provider, &step.kind, inputs.value())) {
            let message = format!("the name of {} depends on a secret", step.address);
            return Err(Trouble::new("SecretName", message).hint(SECRET_NAME));
        }
        Ok(Settled { inputs, overrides })
    }

    /// What the values come to, within what the step promised. `forced` where a promised replacement does not depend on
    /// values: its connection or its container was replaced, or a person asked for it.
    ///
    /// # Errors
    /// Where they ask for more than was promised: the step stops.
    pub(super) fn verdict(
        &self,
        step: &Step,
        record: &Record,
        inputs: &Resolved,
        forced: bool,
    ) -> Result<Verdict, Trouble> {
        let provider = self.providers.of(&step.kind).ok_or_else(|| {
            Trouble::new(
                "UnknownProvider",
                format!("this epid has no provider `{}`", step.kind.provider()),
            )
        })?;
        // What is kept instead of the program's value is there already, or was seen there and accepted.
        let kept = step.desired.iter().flat_map(|planned| &planned.overrides);
        let applied = kept.fold(record.applied.clone(), |applied, (path, value)| {
            overlay(&applied, path.segments(), value)
        });
        let record = &Record {
            applied,
            ..record.clone()
        };
        let mut changes = if provider_type(&step.kind).is_some() {
            diff(&provider.config(), &record.applied, inputs.value()).changes
        } else {
            let desired = Desired {
                urn: record.urn.clone(),
                kind: step.kind.clone(),
                properties: inputs.value().clone(),
            };
            provider.diff(record, &desired).changes
        };
        for change in &mut changes {
            if step
                .facts
                .replace_on_changes
                .iter()
                .any(|path| path.covers(&change.path))
            {
                change.replace = Replace::Yes;
            }
        }
        judge(&step.changes, &changes, forced).map_err(|path| unsaid(step, &path))
    }

    /// Whether what is there is what the plan said would be taken over, and differs from what is declared where it said.
    ///
    /// # Errors
    /// Where it is another, or differs elsewhere: the step stops.
    pub(super) fn takes_over(step: &Step, id: &str, changes: &[Change]) -> Result<(), Trouble> {
        let seen = step.found.as_ref().and_then(|found| found.id.as_deref());
        if let Some(seen) = seen.filter(|seen| *seen != id) {
            let message = format!("{} is {id} now, and the plan said {seen}", step.address);
            return Err(Trouble::new("StrongerThanPlanned", message).hint(AGAIN));
        }
        let promises = Promises::new(&step.changes);
        let mut changes = changes.iter().map(|change| &change.path);
        match changes.find(|path| promises.of(path).is_none()) {
            Some(path) => Err(unsaid(step, path)),
            None => Ok(()),
        }
    }
}

const AGAIN: &str = "run epid up again: the new plan shows it";

fn unsaid(step: &Step, path: &Path) -> Trouble {
    let message = format!("{path} of {} changes, which the plan did not say", step.address);
    Trouble::new("StrongerThanPlanned", message).hint(AGAIN)
}

/// Compares what changes with what was promised; the path of the first change that was not.
fn judge(promised: &[PlannedChange], actual: &[Change], forced: bool) -> Result<Verdict, Path> {
    let certain = promised.iter().filter(|p| forced && p.replace == Replace::Yes);
    let mut reasons: Vec<Path> = certain.map(|p| p.path.clone()).collect();
    let promises = Promises::new(promised);
    for change in actual {
        let promise = promises.of(&change.path).ok_or_else(|| change.path.clone())?;
        match (change.replace, promise) {
            (Replace::No, _) => {}
            (_, Replace::No) => return Err(change.path.clone()),
            _ => reasons.push(change.path.clone()),
        }
    }
    Ok(match (reasons.is_empty(), actual.is_empty()) {
        (false, _) => Verdict::Replace(reasons),
        (true, true) => Verdict::Same,
        (true, false) => Verdict::Update,
    })
}

#[cfg(test)]
mod tests {
    use epid_provider::Op;

    use super::*;

    fn promised(path: &str, replace: Replace) -> PlannedChange {
        PlannedChange {
            path: path.parse().unwrap(),
            op: Op::Change,
            before: String::new(),
            after: String::new(),
            replace,
        }
    }

    fn actual(path: &str, replace: Replace) -> Change {
        let (before, after) = (Value::Int(1), Value::Int(2));
        Change {
            path: path.parse().unwrap(),
            op: Op::Change,
            before,
            after,
            replace,
        }
    }

    #[test]
    fn less_than_promised_is_done_and_more_is_not() {
        let promise = [promised("a", Replace::IfChanged), promised("b.c", Replace::No)];
        assert_eq!(judge(&promise, &[], true), Ok(Verdict::Same));
        assert_eq!(
            judge(&promise, &[actual("b.c.d", Replace::No)], true),
            Ok(Verdict::Update)
        );
        let a: Path = "a".parse().unwrap();
        assert_eq!(
            judge(&promise, &[actual("a", Replace::Yes)], true),
            Ok(Verdict::Replace(vec![a]))
        );
        assert_eq!(
            judge(&promise, &[actual("b", Replace::No)], true),
            Err("b".parse().unwrap())
        );
        assert_eq!(
            judge(&promise, &[actual("b.c", Replace::Yes)], true),
            Err("b.c".parse().unwrap())
        );
    }
}
