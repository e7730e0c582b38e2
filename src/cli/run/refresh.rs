//! `epid refresh`: what was changed outside is told, with what may be done about it; or accepted, which changes records alone.

use epid_provider::Urn;

use super::{Asked, Running, choose, heard, taken_world};
use crate::cli::Context;
use crate::cli::args::{Refresh as RefreshArgs, SelectionArgs};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Terminal, wrapped};
use crate::cli::workspace::{Pending, Workspace};
use crate::plan::{Drift, LostMark, Mode, Plan, Refresh, quoted};
use crate::program::StackFile;

/// `epid refresh`.
pub(crate) async fn refresh(
    context: &Context,
    workspace: &Workspace,
    args: &RefreshArgs,
) -> Result<Exit, Error> {
    let control = heard();
    let stacks = choose(workspace, &args.stacks)?;
    // Finding out what became of a call is written down.
    let world = taken_world(context, workspace, &stacks, &args.stacks, (args.wait, &control)).await?;
    let mut asked = Asked::new(Mode::Up, &SelectionArgs::default(), &[])?;
    asked.look = true;
    asked.reads = true;
    asked.wait = args.wait;
    asked.refresh = Refresh::Record;
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        control,
        yes: args.yes,
    };
    let exit = refresh_all(context, &run, &stacks, args).await;
    world.close()?;
    exit
}

async fn refresh_all(
    context: &Context,
    run: &Running<'_>,
    stacks: &[&StackFile],
    args: &RefreshArgs,
) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    run.tell_forgotten(&args.stacks, stacks).await?;
    run.check_before_recovery(stacks).await?;
    for (at, stack) in stacks.iter().enumerate() {
        if at > 0 && !context.terminal.json {
            context.terminal.line("");
        }
        run.recover(stack).await?;
        let none = Pending::new();
        let planned = run.plan(stack, &none);
        let mut planned = run.unless_stopped(planned).await?;
        planned.plan = planned.plan.records_alone();
        let drifted = !planned.plan.drift.is_empty();
        if !args.accept {
            planned.plan = planned.plan.only(|_| false);
            run.show(std::slice::from_ref(&planned));
            if !context.terminal.json {
                context.terminal.print(&ways(&planned.plan, context.terminal));
            }
            if args.expect_no_changes && drifted {
                exit = exit.or(Exit::Changes);
            }
            continue;
        }
        run.show(std::slice::from_ref(&planned));
        if drifted {
            let steps = &planned.plan.steps;
            let accepted = |urn: &Urn| steps.iter().any(|step| step.target.urn == *urn);
            let changed = planned
                .plan
                .drift
                .iter()
                .filter(|drift| !drift.changes.is_empty());
            let kept = changed.map(|drift| &drift.urn).filter(|urn| !accepted(urn));
            let kept: Vec<&str> = kept.map(Urn::path).collect();
            if !kept.is_empty() {
                let names = kept.join(", ");
                context.terminal.note(&format!(
                    "not accepted, because the next `epid up` changes it anyway, or makes what it needs by then: {names}"
                ));
            }
            if planned.plan.is_empty() || !run.agreed("Record this?").await? {
                continue;
            }
            exit = exit.or(run.execute(planned).await?.unwrap_or(Exit::Done));
        }
    }
    Ok(exit)
}

/// What may be done about drift, each in a line.
fn ways(plan: &Plan, terminal: Terminal) -> String {
    let any = |is: &dyn Fn(&Drift) -> bool| plan.drift.iter().any(is);
    let anothers = |drift: &&Drift| matches!(drift.mark, Some(LostMark::Another(_)));
    let mut lines = Vec::new();
    if any(&|drift| !drift.changes.is_empty()) {
        lines.push(
            "`epid up --refresh` puts back what was changed, `epid refresh --accept` keeps it".to_owned(),
        );
    }
    if any(&|drift| drift.gone) {
        lines.push(
            "`epid up --refresh` makes what is gone again; `epid refresh --accept` records it as gone, and the next \
             `epid up` makes what is declared again"
                .to_owned(),
        );
    }
    if any(&|drift| drift.mark == Some(LostMark::Removed)) {
        lines.push(
            "`epid up --refresh` marks again what bears no mark: another stack may take it until then"
                .to_owned(),
        );
    }
    lines.extend(plan.drift.iter().filter(anothers).map(|drift| {
        let path = drift.urn.path();
        let name = quoted(path);
        format!("`epid state rm {name}` lets go of `{path}`, which stays with the other stack")
    }));
    // Where nobody looks a line stays one.
    let columns = if terminal.cuts { terminal.width } else { usize::MAX };
    let lines = lines.iter().map(|line| wrapped(line, "  ", columns));
    lines.collect()
}
