//! Why a resource is replaced, and in which order.

use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Change, Diff, Op, Path, Provider, Replace, Urn, Value};

use super::assemble::{declared, inputs};
use super::desired::shown;
use super::marks::quoted;
use super::planner::{Decided, Outgoing, Planner, Replaced};
use super::problem::PlanProblem;
use super::removal;
use super::step::{Action, Facts, StepId};
use crate::graph::{Node, unmade};
use crate::state::{Entry, Realm, RecordKey};

impl<'a> Planner<'a> {
    /// True where a resource was made through a connection that leads, or may lead, elsewhere than its own does now.
    pub(super) fn connection_replaced(&self, node: &Node, entry: &Entry) -> bool {
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

    /// True where a provider node leads where a recorded one does, or is configured as that was.
    pub(super) fn leads_where(&self, now: &Urn, then: &RecordKey) -> bool {
        let (Some(decided), Some(recorded)) = (self.decided.get(now), self.request.snapshot.get(then)) else {
            return false;
        };
        let renamed = self.claimed.get(then) == Some(&now);
        let realm = self.request.snapshot.realm(Some(then));
        let same = matches!(realm, Realm::Of(_)) && realm == self.realm(Some(now));
        let provider = self.request.providers.of(&recorded.record.kind);
        renamed
            || same
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
    pub(super) fn replaced_with(&self, node: &Node, entry: &Entry) -> Option<Urn> {
        let replaced = |urn: &&Urn| self.decided.get(*urn).is_some_and(|d| d.replaced != Replaced::No);
        let connection = node
            .provider
            .as_ref()
            .filter(|_| self.connection_replaced(node, entry));
        let below = node.deleted_with.iter().chain(&node.stands_on);
        let mut below = below.filter(|urn| self.stood_on(entry, urn));
        connection.or_else(|| below.find(replaced)).cloned()
    }

    /// A record whose resource is gone is made again; the record goes with the create.
    pub(super) fn recreate(
        &mut self,
        node: &'a Node,
        entry: &'a Entry,
        desired: Value,
        after: Vec<StepId>,
    ) -> Decided {
        let target = self.next(node);
        let action = if node.schema.lookup {
            Action::Read
        } else {
            Action::Create
        };
        let mut step = self.step(node, action, target, after);
        step.desired = Some(inputs(node, Vec::new()));
        step.changes = shown(&declared(&node.schema, &desired));
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

    /// A record whose resource is gone becomes vacant; whoever depends on it is told what a run that makes it again would.
    pub(super) fn record_gone(
        &mut self,
        node: &'a Node,
        entry: &'a Entry,
        desired: Value,
        after: Vec<StepId>,
    ) -> Decided {
        let mut step = self.step(node, Action::Record, entry.key_of(), after);
        step.gone = true;
        step.expected = Duration::ZERO;
        let id = self.push(step);
        Decided {
            known: unmade(&node.address, desired, &node.schema),
            step: Some(id),
            replaced: Replaced::CreateFirst,
            decide: Vec::new(),
        }
    }

    /// A provider whose cluster is replaced: a new generation; the old one leaves with its last record.
    pub(super) fn reconnect(
        &mut self,
        node: &'a Node,
        entry: &'a Entry,
        desired: Value,
        after: Vec<StepId>,
    ) -> Decided {
        let target = self.next(node);
        let mut step = self.step(node, Action::Connect, target, after);
        step.desired = Some(inputs(node, Vec::new()));
        step.from = Some(entry.key_of());
        let id = self.push(step);
        let known = unmade(&node.address, desired, &node.schema);
        let container = node.deleted_with.as_ref().and_then(|urn| self.decided.get(urn));
        let below = container.filter(|container| container.replaced == Replaced::DeleteFirst);
        let below = below.filter(|_| {
            node.deleted_with
                .as_ref()
                .is_some_and(|urn| self.stood_on(entry, urn))
        });
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
    pub(super) fn replace(
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
            let forced = diff.changes.iter().filter(|c| c.replace != Replace::No);
            let paths: Vec<String> = forced
                .map(|c| c.path.to_string())
                .filter(|path| !path.is_empty())
                .collect();
            // Nothing of its own has to change where it is replaced with another, or because somebody asked for it.
            let (why, instead) = match self.replaced_with(node, entry) {
                _ if !paths.is_empty() => (paths.join(", "), "set it back"),
                Some(with) => (
                    format!("the replacement of `{}`", with.path()),
                    "keep that as it is",
                ),
                None => ("--replace".to_owned(), "leave it out"),
            };
            let message = format!("`{}` is protected, but {why} would replace it", node.address);
            let hint = if node.options.protect {
                format!("{instead}, or take `protect` out of its options first")
            } else {
                format!(
                    "{instead}, or `epid state unprotect {}` first",
                    quoted(&node.address)
                )
            };
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        let replaced = self.replacement_order(node, entry, &desired);
        let target = self.next(node);
        let (id, decide) = if replaced == Replaced::DeleteFirst {
            let pushed = self.pushed_by(node, entry);
            let certain = own == Replace::Yes || pushed.as_ref().is_some_and(Vec::is_empty);
            let decide = match pushed {
                _ if certain => Vec::new(),
                Some(inherited) => inherited,
                // It may be replaced for an unknown value, or with something that is only perhaps.
                None => {
                    let mut step = self.step(node, Action::Decide, target.clone(), after.clone());
                    step.desired = Some(inputs(node, overrides.clone()));
                    step.from = Some(entry.key_of());
                    step.expected = Duration::ZERO;
                    vec![self.push(step)]
                }
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
            let mut refill = self.step(node, Action::Refill, target, after);
            refill.after.push(StepId(vacate));
            refill.from = Some(entry.key_of());
            refill.desired = Some(inputs(node, overrides));
            refill.changes = shown(&diff.changes);
            let refill = self.push(refill);
            let else_kept = (!decide.is_empty()).then_some(refill);
            self.outgoing
                .push((entry, Outgoing::Vacated { vacate, else_kept }));
            (refill, decide)
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
    pub(super) fn pushed_by(&self, node: &Node, entry: &Entry) -> Option<Vec<u32>> {
        let below = under(node).filter(|to| self.stood_on(entry, to));
        let below = below.filter_map(|to| self.decided.get(to));
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
    pub(super) fn replacement_order(&mut self, node: &Node, entry: &Entry, desired: &Value) -> Replaced {
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
    pub(super) fn goes_first(&self, node: &Node, entry: &Entry) -> Option<Urn> {
        let below = |to: &&Urn| {
            self.decided
                .get(to)
                .is_some_and(|d| d.replaced == Replaced::DeleteFirst)
        };
        under(node)
            .find(|to| below(to) && self.stood_on(entry, to))
            .cloned()
    }

    /// True where a record stands on a resource of the program, whatever that was called then.
    fn stood_on(&self, entry: &Entry, to: &Urn) -> bool {
        let renamed = |urn: &Urn| {
            let record = self.live.get(urn).map(|entry| entry.key_of());
            record.is_some_and(|record| self.claimed.get(&record) == Some(&to))
        };
        removal::needs(entry)
            .into_iter()
            .any(|urn| urn == to || renamed(urn))
    }

    /// What the old and the new one would both hold: the physical name, or an exclusive field that stays.
    pub(super) fn collision(&self, node: &Node, entry: &Entry, desired: &Value) -> Option<String> {
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
}

/// What a node stands on: what it depends on, and what it is in.
fn under(node: &Node) -> impl Iterator<Item = &Urn> {
    node.edges.iter().map(|edge| &edge.to).chain(&node.deleted_with)
}

/// Makes a diff replace whatever it says.
pub(super) fn force(diff: &mut Diff) {
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
