//! From plans to runs: the lock, recovery, the calls, the words at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Planned, Running};
use crate::apply::{Event, Executor, Outcome, PlanRefused, Stop};
use crate::cli::bound::{beyond, unseen};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::saved_plan::SavedPlan;
use crate::cli::ui::{Listener, Reading, count, is_told_alike, summary};
use crate::cli::waiting::patiently;
use crate::cli::workspace::Workspace;
use crate::cli::world::{World, flag};
use crate::cli::{Context, surroundings};
use crate::expression::Digests;
use crate::plan::{Mode, Plan, Refresh};
use crate::program::StackFile;
use crate::state::{Location, Opening, Run, Session, StateError};

/// How the execution of a plan ended.
pub(super) struct Applied {
    exit: Exit,
    /// What kept the state from being written, where people were told: the session fails with the same when it is closed.
    told: Option<String>,
}

impl Applied {
    fn exit(self, closed: Result<(), StateError>) -> Result<Exit, Error> {
        match closed {
            Err(error) if self.told.as_deref() != Some(&*error.to_string()) => Err(error.into()),
            _ => Ok(self.exit),
        }
    }
}

impl Running<'_> {
    /// Opens the stack and executes what was shown; where something has changed since, what a new plan says, if it stays
    /// within that or is agreed to. `None` where somebody said no.
    pub(super) async fn execute(&self, shown: Planned<'_>) -> Result<Option<Exit>, Error> {
        if shown.plan.header.lineage.is_empty() && shown.plan.is_empty() && shown.plan.outputs.is_empty() {
            return Ok(Some(Exit::Done));
        }
        if self.control.stop() > Stop::No {
            return Err(Error::interrupted());
        }
        let session = self.open(&shown.location).await?;
        let done = self.execute_in(&session, shown).await;
        let closed = session.close().await;
        let Some(done) = done? else {
            closed?;
            return Ok(None);
        };
        done.exit(closed).map(Some)
    }

    async fn execute_in(&self, session: &Arc<Session>, shown: Planned<'_>) -> Result<Option<Applied>, Error> {
        let (stack, location) = (shown.stack, shown.location.clone());
        self.begin(session, stack, &location).await?;
        let done = async {
            let Some(plan) = self.still(session, shown).await? else {
                return Ok(None);
            };
            self.apply(session, stack, plan).await.map(Some)
        };
        let done = done.await;
        let through = matches!(&done, Ok(Some(done)) if done.exit == Exit::Done);
        self.end(session, stack, &location, through).await?;
        done
    }

    /// What was shown, or what takes its place now that nobody else can write.
    async fn still(&self, session: &Session, shown: Planned<'_>) -> Result<Option<Plan>, Error> {
        if self.holds(session, &shown).await? {
            self.refuse_loss(&shown.location, &shown.plan).await?;
            return Ok(Some(shown.plan));
        }
        let fresh = self.plan_again(session, &shown).await?;
        let mut beyond = beyond(&shown.plan, &fresh.plan);
        let mut more = "more would change than was shown";
        if self.asked.refresh != Refresh::Undo {
            let unseen = unseen(&shown.plan, &fresh.plan);
            if !unseen.is_empty() {
                more = "more was changed meanwhile than was shown";
            }
            beyond.extend(unseen);
        }
        if self.asked.wait && !is_told_alike(&shown.plan, &fresh.plan) {
            // Whoever waits for others takes what they leave.
            let name = &fresh.stack.name;
            self.context.terminal.note(&format!(
                "stack `{name}` has changed since that was shown; now it is:"
            ));
            self.show(std::slice::from_ref(&fresh));
            if !beyond.is_empty() && !self.agreed("Do this instead?").await? {
                return Ok(None);
            }
            return Ok(Some(fresh.plan));
        }
        if beyond.is_empty() {
            return Ok(Some(fresh.plan));
        }
        let names: BTreeSet<&str> = beyond.iter().map(|urn| urn.path()).collect();
        let names: Vec<&str> = names.into_iter().take(5).collect();
        let message = format!("{}: {more}: {}", fresh.stack.name, names.join(", "));
        Err(Error::failed(message).hint("nothing of this stack was done; run it again to see what changes"))
    }

    /// Executes a plan in an open session and shows what happens.
    pub(super) async fn apply(
        &self,
        session: &Arc<Session>,
        stack: &StackFile,
        mut plan: Plan,
    ) -> Result<Applied, Error> {
        let terminal = self.context.terminal;
        let header = session.with(|snapshot| snapshot.header.clone());
        if plan.header.lineage.is_empty() && header.serial == 0 {
            plan.header.lineage = header.lineage;
        }
        let digest = digest_of(session);
        let mut executor = self.executor(session, &digest);
        let text = epid_provider::with_secrets(|| serde_json::to_vec(&plan)).unwrap_or_default();
        executor.run.plan = digest(&text).map(Into::into);
        let mut listener = Listener::new(terminal, Some(&plan));
        if !terminal.json && plan.steps.iter().any(|s| s.action.touches_cloud()) {
            terminal.line("");
        }
        let begun = self.world.clock.now();
        let most = self.asked.parallel.map_or(usize::MAX, usize::from);
        let outcome = executor
            .apply_at_most(most, &plan, &mut |event| listener.hear(&event))
            .await;
        listener.end();
        let outcome = outcome.map_err(|refusal| refused(&refusal))?;
        let took = self.world.clock.now().since(begun);
        let told = if self.asked.mode == Mode::Up && outcome.journal.is_none() {
            self.tell_others(session, stack).await
        } else {
            Ok(())
        };
        // What was done is said first, whatever became of the rest.
        self.report(stack, &plan, &outcome, took, listener.old_deleted());
        told?;
        Ok(Applied {
            exit: exit(&outcome),
            told: outcome
                .journal
                .filter(|_| !terminal.json)
                .map(|error| error.to_string()),
        })
    }

    /// Writes down what others see of a stack, and what a preview without the key of its secrets needs.
    async fn tell_others(&self, session: &Arc<Session>, stack: &StackFile) -> Result<(), Error> {
        session.publish_outputs().await?;
        self.note_derived(session, stack).await
    }

    fn report(&self, stack: &StackFile, plan: &Plan, outcome: &Outcome, took: Duration, old_deleted: usize) {
        let terminal = self.context.terminal;
        if terminal.json {
            let left = outcome.left.iter().filter_map(|id| plan.step(*id));
            let left: Vec<&str> = left.map(|step| step.target.urn.as_str()).collect();
            let failed: Vec<&str> = outcome.failed.iter().map(|f| f.urn.as_str()).collect();
            terminal.json(&serde_json::json!({
                "event": "result",
                "stack": stack.name,
                "exit": exit(outcome).code(),
                "failed": failed,
                "left": left,
                "outputs": crate::cli::ui::shown_json(&epid_provider::Value::Map(outcome.outputs.clone()), false),
            }));
            return;
        }
        if !(plan.is_empty() && outcome.is_success()) {
            let next = self.goes_on(stack);
            let cause = self.cause(outcome);
            let text = summary(
                outcome,
                plan,
                took,
                &next,
                cause.as_deref(),
                old_deleted,
                terminal,
            );
            if outcome.interrupted {
                terminal.tell(text.trim_end());
            } else {
                terminal.print(&text);
            }
        }
        if self.asked.mode == Mode::Up && !outcome.outputs.is_empty() && !outcome.interrupted {
            terminal.print(&crate::cli::ui::outputs(
                &outcome.outputs,
                terminal.paint,
                terminal.width,
            ));
        }
    }

    /// What stopped more than one step: the state or the sandbox's world could not be written.
    fn cause(&self, outcome: &Outcome) -> Option<String> {
        if let Some(error) = &outcome.journal {
            return Some(error.to_string());
        }
        let messages = outcome.failed.iter().map(|failure| &*failure.trouble.message);
        self.world.told(&messages.collect::<Vec<_>>())
    }

    /// The command that goes on with a run that was interrupted. A saved plan is only of the state it was made from.
    fn goes_on(&self, stack: &StackFile) -> String {
        if !self.context.command.contains("--plan") {
            return self.context.command.clone();
        }
        let command = if self.asked.mode == Mode::Destroy {
            "destroy"
        } else {
            "up"
        };
        let sandbox = flag(&self.world.id);
        format!("epid {command} --stack {}{sandbox}", stack.name)
    }

    /// Executes a saved plan.
    pub(super) async fn saved(&self, stack: &StackFile, saved: SavedPlan) -> Result<Exit, Error> {
        let plan = saved.plan;
        let location = self.workspace.location(self.world, &stack.name);
        if *plan.header.world != *self.world.id {
            return Err(Error::invalid(format!(
                "the plan was made for {}, this run is in {}",
                plan.header.world, self.world.id
            ))
            .hint("--sandbox belongs to both `epid preview --save` and `epid up --plan`, or to neither"));
        }
        self.require_secrets(&[stack]).await?;
        self.recover(stack).await?;
        let session = self.open(&location).await?;
        let done = async {
            self.begin(&session, stack, &location).await?;
            let done = async {
                self.refuse_stale(stack, &plan, &saved.references).await?;
                self.refuse_returned(&session, &plan).await?;
                self.refuse_loss(&location, &plan).await?;
                self.apply(&session, stack, plan).await
            };
            let done = done.await;
            let through = matches!(&done, Ok(done) if done.exit == Exit::Done);
            self.end(&session, stack, &location, through).await?;
            done
        };
        let done = done.await;
        let closed = session.close().await;
        done?.exit(closed)
    }

    /// Looks into calls of an earlier run whose outcome was not written, where there are any.
    pub(super) async fn recover(&self, stack: &StackFile) -> Result<(), Error> {
        let location = self.workspace.location(self.world, &stack.name);
        let recorded = self.workspace.recorded(&location).await?;
        if recorded.snapshot.intents.is_empty() {
            return Ok(());
        }
        let session = self.open(&location).await?;
        let digest = digest_of(&session);
        let executor = self.executor(&session, &digest);
        let mut listener = Listener::new(self.context.terminal, None);
        let calls = session.with(|snapshot| snapshot.intents.len());
        let calls = count(calls, "call", "calls");
        let what = format!("finding out what became of {calls} of an earlier run");
        let reading = Reading::begin(self.context.terminal, what);
        let recovered = executor
            .recover(&mut |event: Event| reading.aside(|| listener.hear(&event)))
            .await;
        drop(reading);
        session.close().await?;
        recovered?;
        // What was found is kept also where the rest was given up.
        match self.control.stop() {
            Stop::No => Ok(()),
            Stop::Drain | Stop::Cancel => Err(Error::interrupted()),
        }
    }

    pub(super) fn executor<'e>(&'e self, session: &Arc<Session>, digests: &'e dyn Digests) -> Executor<'e> {
        Executor {
            session: session.clone(),
            providers: &self.world.providers,
            clock: self.world.clock.clone(),
            control: self.control.clone(),
            mint: &surroundings::token,
            digests,
            run: started(self.context, self.workspace, self.world),
        }
    }

    pub(super) async fn open(&self, location: &Location) -> Result<Arc<Session>, Error> {
        let opening = self.opening(location)?;
        let store = &self.workspace.store;
        let open = async || Ok(Session::open(store, location, opening.clone()).await?);
        let opened = patiently(self.context.terminal, self.asked.wait, open);
        self.unless_stopped(opened).await.map(Arc::new)
    }

    /// Makes the state where there is none, under the key that the stack file names.
    pub(super) fn opening(&self, location: &Location) -> Result<Opening, Error> {
        let mut opening = Opening::new(surroundings::holder(&self.context.command)).create();
        opening.another_world = self.asked.copy;
        let stack = self.workspace.project.stack(&location.stack);
        opening.key = match stack.and_then(|stack| stack.key.as_deref()) {
            Some(id) => Some(id.to_owned()),
            None => self.workspace.keys.chosen()?,
        };
        // The sandbox does without a key that a fresh clone does not have.
        opening.spares_key = self.world.simulated;
        Ok(opening)
    }
}

/// Who begins a run now, and with what, for the history.
pub(crate) fn started(context: &Context, workspace: &Workspace, world: &World) -> Run {
    let holder = surroundings::holder(&context.command);
    Run {
        who: format!("{}@{}", holder.user, holder.host).into(),
        command: holder.command.into(),
        at: world.clock.now(),
        version: env!("CARGO_PKG_VERSION").into(),
        plan: None,
        commit: surroundings::commit(&workspace.project.root).map(Into::into),
    }
}

pub(super) fn digest_of(session: &Arc<Session>) -> impl Fn(&[u8]) -> Option<String> + use<> {
    let keys = session.keys().clone();
    move |bytes: &[u8]| keys.digest_bytes(bytes)
}

pub(super) fn refused(refused: &PlanRefused) -> Error {
    Error::invalid(refused.to_string()).hint("`epid preview` shows what would change now")
}

pub(super) fn exit(outcome: &Outcome) -> Exit {
    if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.is_success() {
        Exit::Done
    } else {
        Exit::Failed
    }
}
