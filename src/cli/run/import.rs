//! `epid import`: records what exists as resources that the program declares. The ids are checked by reading, all of them;
//! what the next run would change is found on a copy of the state, and shown; then the records are kept, and nothing is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use epid_provider::{Observed, Retry, Urn};

use super::wanted::{Problems, Wanted, listed, resolve};
use super::{Asked, Running, world};
use crate::apply::{Control, Outcome};
use crate::cli::args::{Consent, Import, SelectionArgs};
use crate::cli::commands::records::{Amended, Amending, Amendment, Line};
use crate::cli::derivations::Derivations;
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Reading, count, document, plain, resources};
use crate::cli::waiting::after_others;
use crate::cli::workspace::{Recorded, Workspace};
use crate::cli::{Context, surroundings};
use crate::graph::{Node, ResourceGraph, Selector};
use crate::observe::Seen;
use crate::plan::{Action, Mode, Plan, PlanProblem, Refresh, Request, Selection, plan};
use crate::program::StackFile;
use crate::state::{Change, Location, Session, Snapshot};

pub(crate) async fn import(context: &Context, workspace: &Workspace, args: &Import) -> Result<Exit, Error> {
    let mut problems = Problems::new(&workspace.sources);
    let wanted = match (&args.from, &args.resource, &args.id) {
        (Some(file), ..) => listed(&context.folder, file, &mut problems)?,
        (None, Some(resource), Some(id)) => vec![Wanted::one(resource, id)],
        _ => {
            return Err(Error::invalid("which resource, and which id?")
                .hint("epid import RESOURCE ID, or many at once: epid import --from FILE"));
        }
    };
    let stacks = args.stacks();
    let stack = workspace.stack(stacks.one.stack.as_deref())?;
    surroundings::wipe_at_interrupt(context.terminal.live);
    let world = world(context, workspace, &[stack], &stacks, false)?;
    let mut asked = Asked::new(Mode::Up, &SelectionArgs::default(), &[])?;
    asked.wait = args.wait;
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        // It sends nothing, so a signal may just end it.
        control: Control::unstoppable(),
        yes: args.yes,
    };
    let exit = run.import(stack, &wanted, problems).await;
    world.close()?;
    exit
}

/// What to do about an id that is not found.
const CHECK: &str = "check the id, whether it is of that kind, and the account and region of its provider";

impl Running<'_> {
    async fn import(
        &self,
        stack: &StackFile,
        wanted: &[Wanted],
        mut problems: Problems,
    ) -> Result<Exit, Error> {
        let location = self.workspace.location(self.world, &stack.name);
        after_others(self.context, self.workspace, &location, self.asked.wait).await?;
        let recorded = self.workspace.recorded(&location).await?;
        self.require_secrets(&[stack]).await?;
        let derivations = Derivations::of(&recorded);
        let references = self
            .workspace
            .references(stack, self.world, &BTreeMap::new(), &derivations)
            .await?;
        let declared = self
            .workspace
            .graph(stack, self.world, references, &derivations)?;
        let snapshot = &recorded.snapshot;
        let mut found = resolve(&declared, snapshot, wanted, &mut problems);
        let reading = Reading::begin(self.context.terminal, "reading what is to be imported".to_owned());
        let seen = self
            .observe(&declared.clone().importing(&ids(&found)), &recorded)
            .await?;
        drop(reading);
        self.drop_unseen(&seen, &mut found, &mut problems)?;
        if found.is_empty() {
            problems.none()?;
        }
        let ids = ids(&found);
        let graph = declared.importing(&ids);
        let selection = selection(&graph, snapshot, &ids)?;
        let plan = match self.plan_of(&graph, snapshot, &seen, &selection, &derivations) {
            Ok(plan) => plan,
            Err(all) => {
                // What is wrong with the ids says why something else is missing.
                let known = !problems.is_empty();
                let mut other = Vec::new();
                for problem in all {
                    match problem.urn.as_ref().and_then(|urn| found.get(urn)) {
                        Some(wanted) => {
                            let hint = problem.hint.unwrap_or_else(|| CHECK.to_owned());
                            problems.of(wanted, problem.message, hint);
                        }
                        None => other.push(problem),
                    }
                }
                if known || other.is_empty() {
                    problems.none()?;
                }
                return Err(Error::plan(other, &self.workspace.sources));
            }
        };
        let plan = plan
            .only(|step| matches!(step.action, Action::Import | Action::Connect | Action::Read))
            .recording_only();
        for (urn, wanted) in &found {
            let imports =
                |step: &&crate::plan::Step| step.target.urn == *urn && step.action == Action::Import;
            if !plan.steps.iter().any(|step| imports(&step)) {
                let message = format!("`{}` is recorded already, under another name", urn.path());
                problems.of(wanted, message, "`epid up` gives the record its new name");
            }
        }
        problems.none()?;
        let trial = Arc::new(Session::trial(snapshot.clone(), recorded.keys.clone()));
        let executor = self.executor(&trial, &derivations);
        let outcome = executor.apply(&plan, &mut |_| {}).await;
        let outcome = outcome.map_err(|refusal| Error::invalid(refusal.to_string()))?;
        refuse_failed(&outcome)?;
        let trial = trial.snapshot();
        let next = self
            .plan_of(&graph, &trial, &Seen::default(), &selection, &derivations)
            .map_err(|problems| Error::plan(problems, &self.workspace.sources))?;
        self.show_next(stack, &next, &trial);
        self.keep(&location, &recorded, &trial, &ids).await
    }

    /// Takes out what was not found, with the reason.
    fn drop_unseen(
        &self,
        seen: &Seen,
        found: &mut HashMap<Urn, &Wanted>,
        problems: &mut Problems,
    ) -> Result<(), Error> {
        found.retain(|urn, wanted| {
            let absent = matches!(seen.found.get(urn), Some(Observed::Absent));
            if absent {
                let message = format!("there is no {} `{}`", urn.kind(), plain(&wanted.id));
                problems.of(wanted, message, CHECK);
            }
            !absent
        });
        let mut unread = Vec::new();
        for (urn, failure) in &seen.failed {
            match found.remove(urn) {
                // What a service says of an id that is none of its own.
                Some(wanted) if failure.retry == Retry::No => {
                    let hint = failure.hint.as_deref();
                    let (path, id) = (urn.path(), plain(&wanted.id));
                    let message = format!("`{path}` cannot be {id}: {}", plain(&failure.message));
                    problems.of(wanted, message, hint.unwrap_or(CHECK));
                }
                _ => unread.push((urn, failure)),
            }
        }
        let Some((_, first)) = unread.first().filter(|_| problems.is_empty()) else {
            return Ok(());
        };
        let told = unread
            .iter()
            .map(|(urn, failure)| format!("{} cannot be read: {}", urn.path(), plain(&failure.message)));
        let told: Vec<String> = told.collect();
        Err(
            Error::failed(format!("nothing was recorded: {}", told.join("; ")))
                .hint(first.hint.as_deref().unwrap_or("run the command again")),
        )
    }

    fn plan_of(
        &self,
        graph: &ResourceGraph,
        snapshot: &Snapshot,
        seen: &Seen,
        selection: &Selection,
        derivations: &Derivations,
    ) -> Result<Plan, Vec<PlanProblem>> {
        plan(&Request {
            graph,
            snapshot,
            observed: &seen.found,
            providers: &self.world.providers,
            mode: Mode::Up,
            selection,
            refresh: Refresh::Undo,
            digests: derivations,
        })
    }

    /// Shows what the program says otherwise of what is imported: the next run would change it.
    fn show_next(&self, stack: &StackFile, next: &Plan, trial: &Snapshot) {
        let terminal = self.context.terminal;
        if terminal.json {
            terminal.json(&document(next));
            return;
        }
        if next.is_empty() {
            terminal.line("as the program declares it: the next `epid up` changes nothing of it\n");
            return;
        }
        let only_marked = |step: &crate::plan::Step| step.unmarked && step.changes.is_empty();
        let quiet = |step: &crate::plan::Step| matches!(step.action, Action::Nothing | Action::Connect);
        if next.steps.iter().all(|step| only_marked(step) || quiet(step)) {
            let n = next.steps.iter().filter(|step| only_marked(step)).count();
            let what = count(n, "resource is", "resources are");
            terminal.line(&format!(
                "as the program declares it, but {what} nobody's: the next `epid up` marks what is nobody's as this stack's\n\
                 and changes nothing else; until then another stack may take it\n"
            ));
            return;
        }
        terminal.line("not as the program declares it: the next `epid up` would do this\n");
        terminal.print(&self.text(stack, next, resources(trial)));
        terminal.line("");
    }

    /// Asks, and records what was found.
    async fn keep(
        &self,
        location: &Location,
        recorded: &Recorded,
        trial: &Snapshot,
        ids: &HashMap<Urn, Arc<str>>,
    ) -> Result<Exit, Error> {
        let base = &recorded.snapshot;
        let (changes, _) = base.restoring(trial, true)?;
        let put = changes.iter().filter_map(|change| match change {
            Change::Put(entry) => Some(entry),
            Change::Remove(_) => None,
        });
        let lines = put.map(|entry| match ids.get(entry.urn()) {
            Some(id) => Line::new(
                "+",
                entry.urn(),
                "import",
                format!(
                    "= {}   {}{}",
                    plain(id),
                    entry.record.kind,
                    if entry.unmarked { ", nobody's" } else { "" }
                ),
            ),
            None => Line::new("·", entry.urn(), "record", "needed by that"),
        });
        let amendment = Amendment {
            lines: lines.collect(),
            changes,
            ..Amendment::default()
        };
        let decide = |snapshot: &Snapshot| {
            let new = base.header.lineage.is_empty() && snapshot.header.serial == 0 && snapshot.is_empty();
            // An empty answer is another one than was shown, and refused for that.
            let same = new || snapshot.is_same(base);
            Ok(if same {
                amendment.clone()
            } else {
                Amendment::default()
            })
        };
        let amending = Amending {
            context: self.context,
            workspace: self.workspace,
            world: self.world,
            location,
            consent: Consent {
                yes: self.yes,
                wait: self.asked.wait,
            },
        };
        let opening = self.opening(location)?;
        if amending.run(opening, "Record this?", decide).await? == Amended::Recorded {
            let text = count(ids.len(), "resource is", "resources are");
            self.context.terminal.done(&format!("{text} recorded"));
        }
        Ok(Exit::Done)
    }
}

fn ids(found: &HashMap<Urn, &Wanted>) -> HashMap<Urn, Arc<str>> {
    let ids = found.iter();
    ids.map(|(urn, wanted)| (urn.clone(), wanted.id.clone()))
        .collect()
}

fn refuse_failed(outcome: &Outcome) -> Result<(), Error> {
    if outcome.interrupted {
        return Err(Error::interrupted());
    }
    if outcome.failed.is_empty() {
        return Ok(());
    }
    let failed = outcome.failed.iter().map(|failure| {
        let message = plain(&failure.trouble.message);
        format!("`{}`: {message}", failure.urn.path())
    });
    let failed: Vec<String> = failed.collect();
    let hint = outcome
        .failed
        .iter()
        .find_map(|failure| failure.trouble.hint.as_deref());
    Err(
        Error::failed(format!("nothing was recorded: {}", failed.join("; ")))
            .hint(hint.unwrap_or("check the ids, and in which account and region they are")),
    )
}

/// What is imported, and the lookups under it that nothing is recorded of.
fn selection(
    graph: &ResourceGraph,
    snapshot: &Snapshot,
    ids: &HashMap<Urn, Arc<str>>,
) -> Result<Selection, Error> {
    let mut open: Vec<&Urn> = ids.keys().collect();
    let mut seen: BTreeSet<&Urn> = BTreeSet::new();
    let mut targets: BTreeSet<&Urn> = ids.keys().collect();
    while let Some(node) = open.pop().and_then(|urn| graph.node(urn)) {
        for edge in node.edges.iter().filter(|edge| seen.insert(&edge.to)) {
            let unread = |node: &Node| node.schema.lookup && snapshot.live(&node.urn).is_none();
            if graph.node(&edge.to).is_some_and(unread) {
                targets.insert(&edge.to);
            }
            open.push(&edge.to);
        }
    }
    let targets = targets.into_iter().map(|urn| urn.as_str().parse::<Selector>());
    Ok(Selection {
        targets: targets.collect::<Result<_, String>>().map_err(Error::invalid)?,
        ..Selection::default()
    })
}
