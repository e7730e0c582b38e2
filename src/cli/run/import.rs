//! `epid import`: records what exists as resources that the program declares. The ids are checked by reading, on a copy of the
//! state; what the next run would change of them is shown; then the records are kept, and nothing is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use epid_provider::Urn;
use epid_provider::check::nearest;

use super::{Asked, Running, world};
use crate::apply::{Control, Outcome};
use crate::cli::Context;
use crate::cli::args::{Import, SelectionArgs};
use crate::cli::commands::records::{Amended, Amending, Amendment, Line};
use crate::cli::derivations::Derivations;
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Shown, count, document, plain, render_plan};
use crate::cli::workspace::{Recorded, Workspace};
use crate::graph::{Node, ResourceGraph, Selector, provider_type};
use crate::observe::Seen;
use crate::plan::{Action, Mode, Plan, Refresh, Request, Selection, plan};
use crate::program::StackFile;
use crate::state::{Change, Location, Session, Snapshot};

pub(crate) async fn import(context: &Context, workspace: &Workspace, args: &Import) -> Result<Exit, Error> {
    let wanted = match (&args.from, &args.resource, &args.id) {
        (Some(file), ..) => listed(&context.folder.join(file))?,
        (None, Some(resource), Some(id)) => vec![(resource.clone(), Arc::from(&**id), None)],
        _ => return Err(Error::invalid("which resource, and which id?").hint("epid import RESOURCE ID")),
    };
    let stacks = args.stacks();
    let stack = workspace.stack(stacks.one.stack.as_deref())?;
    let world = world(context, workspace, &[stack], &stacks, false)?;
    let asked = Asked::new(Mode::Up, &SelectionArgs::default(), &[])?;
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        // It sends nothing, so a signal may just end it.
        control: Control::unstoppable(),
        yes: args.yes,
    };
    let exit = run.import(stack, &wanted).await;
    world.close()?;
    exit
}

/// A resource as it was named, the id of what it is, and where that was said.
type Wanted = (String, Arc<str>, Option<String>);

/// The lines of a file.
#[expect(clippy::disallowed_methods, reason = "the file was named on the command line")]
fn listed(path: &Path) -> Result<Vec<Wanted>, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", path.display())))?;
    let mut wanted = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{}:{}", path.display(), at + 1);
        let (resource, id) = parted(line).ok_or_else(|| {
            Error::invalid(format!(
                "{place}: a line is `RESOURCE = ID`, not `{}`",
                plain(line)
            ))
        })?;
        wanted.push((resource.to_owned(), Arc::from(id), Some(place)));
    }
    if wanted.is_empty() {
        return Err(
            Error::invalid(format!("{} names nothing to import", path.display()))
                .hint("one line for each: `network/vpc = vpc-0123`"),
        );
    }
    Ok(wanted)
}

/// Both sides of the first `=` that is in no key of a `forEach`.
fn parted(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let at = line.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '=' && !quoted
    });
    let (resource, id) = line.split_at_checked(at?.0)?;
    let (resource, id) = (resource.trim(), id.get(1..)?.trim());
    (!resource.is_empty() && !id.is_empty()).then_some((resource, id))
}

impl Running<'_> {
    async fn import(&self, stack: &StackFile, wanted: &[Wanted]) -> Result<Exit, Error> {
        let location = self.workspace.location(self.world, &stack.name);
        let recorded = self.workspace.recorded(&location).await?;
        self.require_secrets(&[stack]).await?;
        let derivations = Derivations::of(&recorded);
        let references = self
            .workspace
            .references(stack, self.world, &BTreeMap::new(), &derivations)
            .await?;
        let graph = self
            .workspace
            .graph(stack, self.world, references, &derivations)?;
        let ids = resolve(&graph, &recorded.snapshot, wanted)?;
        let graph = graph.importing(&ids);
        let selection = selection(&graph, &recorded.snapshot, &ids)?;
        let plan = self.plan_of(&graph, &recorded.snapshot, &selection, &derivations)?;
        let plan = plan
            .only(|step| matches!(step.action, Action::Import | Action::Connect | Action::Read))
            .recording_only();
        for urn in ids.keys() {
            let imports =
                |step: &&crate::plan::Step| step.target.urn == *urn && step.action == Action::Import;
            if !plan.steps.iter().any(|step| imports(&step)) {
                let path = urn.path();
                return Err(
                    Error::invalid(format!("`{path}` is recorded already, under another name"))
                        .hint("`epid up` gives the record its new name"),
                );
            }
        }
        let trial = Arc::new(Session::trial(recorded.snapshot.clone(), recorded.keys.clone()));
        let executor = self.executor(&trial, &derivations);
        let outcome = executor.apply(&plan, &mut |_| {}).await;
        let outcome = outcome.map_err(|refusal| Error::invalid(refusal.to_string()))?;
        refuse_failed(&outcome)?;
        let trial = trial.snapshot();
        let next = self.plan_of(&graph, &trial, &selection, &derivations)?;
        self.show_next(stack, &next, &trial);
        self.keep(&location, &recorded, &trial, &ids).await
    }

    fn plan_of(
        &self,
        graph: &ResourceGraph,
        snapshot: &Snapshot,
        selection: &Selection,
        derivations: &Derivations,
    ) -> Result<Plan, Error> {
        let seen = Seen::default();
        let request = Request {
            graph,
            snapshot,
            observed: &seen.found,
            providers: &self.world.providers,
            mode: Mode::Up,
            selection,
            refresh: Refresh::Undo,
            digests: derivations,
        };
        plan(&request).map_err(|problems| Error::plan(problems, &self.workspace.sources))
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
        let component = |address: &str| {
            let name = address.split('[').next().unwrap_or(address);
            let mut declared = stack.program.resources.iter();
            declared.find(|d| *d.name == *name).map(|d| d.kind.clone())
        };
        let shown = Shown {
            paint: terminal.paint,
            width: terminal.width,
            cuts: terminal.cuts,
            details: false,
            recorded: trial.entries.len(),
            component: &component,
        };
        terminal.line("not as the program declares it: the next `epid up` would do this\n");
        terminal.print(&render_plan(next, shown));
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
                format!("= {}   {}", plain(id), entry.record.kind),
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
            yes: self.yes,
        };
        let opening = self.opening(location)?;
        if amending.run(opening, "Record this?", decide).await? == Amended::Recorded {
            let text = count(ids.len(), "resource is", "resources are");
            self.context.terminal.done(&format!("{text} recorded"));
        }
        Ok(Exit::Done)
    }
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

/// The declared resources that are meant, each with the id of what it is.
fn resolve(
    graph: &ResourceGraph,
    snapshot: &Snapshot,
    wanted: &[Wanted],
) -> Result<HashMap<Urn, Arc<str>>, Error> {
    let mut ids: HashMap<Urn, Arc<str>> = HashMap::new();
    let mut of: BTreeMap<(&str, &str), &Urn> = BTreeMap::new();
    for (name, id, place) in wanted {
        let wrong = |message: String| {
            let place = place.as_ref().map(|place| format!("{place}: "));
            Error::invalid(format!("{}{message}", place.unwrap_or_default()))
        };
        let found = graph
            .nodes()
            .find(|node| *node.address == **name || node.urn.as_str() == name);
        let Some(node) = found else {
            let problem = wrong(format!("the program declares no `{}`", plain(name)));
            return Err(match nearest(name, graph.nodes().map(|node| &*node.address)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("declare it first, as it should be"),
            });
        };
        if provider_type(&node.kind).is_some() || node.schema.lookup {
            return Err(wrong(format!("`{name}` is nothing that could be imported"))
                .hint("providers and lookups are recorded by `epid up`"));
        }
        if let Some(entry) = snapshot.live(&node.urn) {
            return Err(
                wrong(format!("`{name}` is recorded already, as {}", entry.record.id))
                    .hint("`epid state rm` forgets that, and leaves it in the cloud"),
            );
        }
        let mut others = snapshot.entries.values();
        let same = |node: &Node, urn: &Urn| *urn.kind() == *node.kind.unversioned();
        if let Some(other) = others.find(|e| e.record.id == *id && same(node, e.urn()) && made_alike(node, e))
        {
            return Err(
                wrong(format!("{id} is recorded already, as `{}`", other.urn().path()))
                    .hint("`epid state mv` gives a record another name"),
            );
        }
        if let Some(other) = of
            .insert((node.kind.as_str(), id), &node.urn)
            .filter(|other| **other != node.urn)
        {
            return Err(wrong(format!(
                "{id} cannot be both `{}` and `{name}`",
                other.path()
            )));
        }
        if ids
            .insert(node.urn.clone(), id.clone())
            .is_some_and(|before| before != *id)
        {
            return Err(wrong(format!("`{name}` is given two ids")));
        }
    }
    Ok(ids)
}

/// Made by the provider that a declared resource is called through, so that equal ids are one thing.
fn made_alike(node: &Node, entry: &crate::state::Entry) -> bool {
    entry.provider.as_ref().map(|key| &key.urn) == node.provider.as_ref()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_parts_at_its_first_equals_sign_outside_of_keys() {
        assert_eq!(parted("a = vpc-1"), Some(("a", "vpc-1")));
        assert_eq!(parted(r#"a["x=y"]=k=v"#), Some((r#"a["x=y"]"#, "k=v")));
        for bad in ["a", "a =", "= b", "", r#"a["x=y"]"#] {
            assert_eq!(parted(bad), None, "{bad}");
        }
    }
}
