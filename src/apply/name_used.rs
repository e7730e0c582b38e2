//! A create met something that has its name: what that is, whose, and how to go on.

use epid_provider::{Failure, Observed, Operation, Present, Query, Token};
use futures::FutureExt;

use super::call::{Job, Report, execute};
use super::dispatcher::Dispatcher;
use super::event::Trouble;
use super::settle::{Ended, Phase};
use crate::plan::{ANOTHERS, Action, Step, quoted, told};
use crate::state::{Ending, is_sandbox};

/// The code with which every provider says that a name is used.
const NAME_USED: &str = "AlreadyExists";

impl Dispatcher<'_> {
    /// True where a create failed because something has its name.
    pub(super) fn is_name_used(&self, token: &Token, failure: &Failure) -> bool {
        failure.code == NAME_USED
            && self.executor.session.with(|snapshot| {
                let intent = snapshot.intents.get(token);
                intent.is_some_and(|intent| intent.operation == Operation::Create)
            })
    }

    /// Ends such a create, and looks at what has its name.
    pub(super) fn look_by_name(&mut self, step: &Step, token: &Token, failure: &Failure) -> Ended {
        self.record(Some(token.clone()), Ending::Failed, Vec::new())?;
        let trouble = Trouble::from(failure);
        let Ok(settled) = self
            .desired(step)
            .and_then(|planned| self.resolver.inputs(step, planned))
        else {
            return Err(trouble);
        };
        let key = self.connection(step);
        let Ok(source) = self.source(step, key.as_ref()) else {
            return Err(trouble);
        };
        self.running(step, Phase::NameUsed(trouble));
        let query = Query::Inputs {
            urn: step.target.urn.clone(),
            kind: step.kind.clone(),
            inputs: settled.inputs,
        };
        let cx = self
            .means
            .call(step.id, &step.target.urn, &(self.executor.mint)(), step.timeout);
        let (id, means) = (step.id, self.means.clone());
        let call = execute(Job::Look(Box::new(query)), source, cx, id, means);
        self.started.push(call.map(move |report| (id, report)).boxed());
        Ok(None)
    }

    /// What to say of a create whose name is used, once it was looked by what.
    pub(super) fn name_used(&self, step: &Step, refused: Trouble, report: &Report) -> Trouble {
        let Report::Seen(Observed::Present(present)) = report else {
            return refused;
        };
        let what = name(step, present);
        let said = refused.message.trim_end_matches('.');
        let mine = |owner: &&epid_provider::Owner| owner.lineage == self.means.lineage;
        let (whose, hint) = match &present.owner {
            Some(owner) if !mine(&owner) => (
                format!("belongs to another stack ({})", told(owner)),
                format!("give this one another name; or {ANOTHERS}"),
            ),
            Some(owner) => (
                format!("is this stack's ({}), but not recorded", told(owner)),
                self.ways(step, present),
            ),
            None => ("is nobody's".to_owned(), self.ways(step, present)),
        };
        Trouble {
            message: format!("{what} exists already and {whose}: {said}"),
            hint: Some(hint),
            ..refused
        }
    }

    /// How a resource may be taken over.
    fn ways(&self, step: &Step, present: &Present) -> String {
        if step.action == Action::Adopt {
            return "run epid up again: the new plan shows what it adopts or imports".to_owned();
        }
        let header = &self.plan.header;
        let world = if is_sandbox(&header.world) {
            " --sandbox"
        } else {
            ""
        };
        format!(
            "`adopt = true` in its options takes it over, and so does `epid import {} {} --stack {}{world}`; or give this \
             one another name",
            quoted(&step.address),
            quoted(&present.id),
            header.stack,
        )
    }
}

/// What people know a resource by: its ARN where it has one, else its kind and id.
fn name(step: &Step, present: &Present) -> String {
    let arn = present.outputs.get("arn").and_then(epid_provider::Value::as_str);
    arn.map_or_else(|| format!("{} {}", step.kind.name(), present.id), str::to_owned)
}
