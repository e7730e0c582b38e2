//! `epid state migrate`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config;
use crate::cli::args::Consent;
use crate::cli::backend::{self, Backend};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Terminal, count};
use crate::cli::waiting::patiently;
use crate::cli::workspace::Workspace;
use crate::cli::world::World;
use crate::cli::{Context, run, surroundings};
use crate::expression::Span;
use crate::program::{Backend as Settings, set_backend};
use crate::state::{Ahead, Header, Migration, Moving, Place, StateError, Store};

/// Where states are to be, as the command line says it.
pub(super) struct Asked {
    pub(super) to: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

pub(super) async fn migrate(context: &Context, asked: Asked, consent: Consent) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let project = &workspace.project;
    let settings = wanted(context, &workspace, &asked)?;
    let source = backend::of(&project.root, project.backend.as_ref())?;
    let target = backend::of(&project.root, Some(&settings))?;
    // A file that cannot be edited is found before anything moves.
    let path = project.root.join("Epid.toml");
    edited(&path, &settings)?;
    let cloud = World::cloud().id;
    if source.place(&cloud) == target.place(&cloud) {
        let exit = stay(context, &workspace, source.place(&cloud), consent).await?;
        // How the place is reached may have changed.
        let now = project.backend.as_ref();
        let is_so = now.is_none_or(|now| now.kind == settings.kind && now.settings == settings.settings);
        if !is_so {
            config::write(&path, &edited(&path, &settings)?)?;
            context.terminal.done("Epid.toml says how it is reached now");
        }
        return Ok(exit);
    }
    let to = workspace.store_in(target.all.clone());
    let migrations = migrations(&workspace, &source, (&target, &to), &cloud).await?;
    let mut states = Vec::new();
    for migration in &migrations {
        if let Ahead::Move(found) = migration.ahead().await? {
            states.extend(found);
        }
    }
    let (old, new) = (source.place(&cloud), target.place(&cloud));
    show(context.terminal, &project.name, (old, new), &states);
    if !context
        .terminal
        .consents(consent.yes, "Move them, and let Epid.toml say so?")?
    {
        return Ok(Exit::Done);
    }
    let holder = surroundings::holder(&context.command);
    let run = run::started(context, &workspace, &World::cloud());
    let mut moved = 0;
    for migration in &migrations {
        let migrate = async || Ok(migration.run(&holder, &run).await?);
        moved += patiently(context.terminal, consent.wait, migrate).await?;
    }
    let written = edited(&path, &settings).and_then(|text| config::write(&path, &text));
    written.map_err(|error| match error {
        Error::Other { exit, message, .. } => Error::Other {
            exit,
            message: format!("the states are in {new} now, and Epid.toml does not say so: {message}"),
            hint: Some("mend that, and run the same command again".to_owned()),
        },
        error => error,
    })?;
    context.terminal.done(&format!(
        "{} moved to {new}, and Epid.toml says so: give it to whoever works on this. Where it still names {old}, epid refuses \
         and tells them",
        count(moved, "state", "states"),
    ));
    Ok(Exit::Done)
}

/// One for each world whose states change their place, those of the cloud last.
async fn migrations(
    workspace: &Workspace,
    source: &Backend,
    (target, to): (&Backend, &Store),
    cloud: &str,
) -> Result<Vec<Migration>, Error> {
    let project = &workspace.project.name;
    let kept = workspace.store.list().await?.into_iter();
    let mut worlds: BTreeSet<String> = kept
        .filter(|location| location.project == *project)
        .map(|location| location.world.to_string())
        .collect();
    worlds.remove(cloud);
    let all = worlds.iter().map(String::as_str).chain([cloud]);
    let moving = all.filter(|world| source.place(world) != target.place(world));
    let migration = |world: &str| {
        let from = (&workspace.store, source.place(world).clone());
        Migration::new(from, (to, target.place(world).clone()), world, project)
    };
    Ok(moving.map(migration).collect())
}

/// The states are where they are to be: a migration that was begun and cut short is given up.
async fn stay(
    context: &Context,
    workspace: &Workspace,
    place: &Place,
    consent: Consent,
) -> Result<Exit, Error> {
    let (project, cloud) = (&workspace.project.name, World::cloud());
    match workspace.store.stays(&workspace.location(&cloud, "*")).await {
        Ok(()) => {}
        Err(error @ StateError::Elsewhere { .. }) => {
            if !matches!(&error, StateError::Elsewhere { notice, .. } if notice.moving == Moving::Leaving) {
                return Err(error.into());
            }
            if !context.terminal.consents(
                consent.yes,
                &format!("Give up moving the states, which are still in {place}?"),
            )? {
                return Ok(Exit::Done);
            }
        }
        Err(error) => return Err(error.into()),
    }
    let holder = surroundings::holder(&context.command);
    let mut given_up = false;
    let kept = workspace.store.list().await?.into_iter();
    let worlds: BTreeSet<Arc<str>> = kept
        .map(|location| location.world)
        .chain([Arc::from(&*cloud.id)])
        .collect();
    for world in worlds {
        let stay = async || Ok(workspace.store.stay(&world, project, &holder).await?);
        given_up |= patiently(context.terminal, consent.wait, stay).await?;
    }
    context.terminal.done(&if given_up {
        format!("the states stay in {place}")
    } else {
        format!("the states are in {place} already")
    });
    Ok(Exit::Done)
}

/// The settings of the backend that is asked for. What is not said stays as Epid.toml has it.
fn wanted(context: &Context, workspace: &Workspace, asked: &Asked) -> Result<Settings, Error> {
    let project = &workspace.project;
    let mut settings: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let kind = if let Some(bucket) = asked.to.strip_prefix("s3://") {
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let now = project.backend.as_ref().filter(|now| &*now.kind == "s3");
        let kept = |name: &str, given: &Option<String>| {
            given
                .as_deref()
                .or_else(|| now?.settings.get(name).map(|value| &**value))
                .map(str::to_owned)
        };
        let all = [
            ("bucket", Some(bucket.to_owned())),
            (
                "prefix",
                Some(prefix.trim_matches('/').to_owned()).filter(|prefix| !prefix.is_empty()),
            ),
            ("region", kept("region", &asked.region)),
            (
                "endpoint",
                kept("endpoint", &asked.endpoint).filter(|endpoint| !endpoint.is_empty()),
            ),
        ];
        for (name, value) in all {
            if let Some(value) = value {
                settings.insert(name.into(), value.into());
            }
        }
        "s3"
    } else {
        if asked.to.contains("://") || asked.to.is_empty() {
            let problem = Error::invalid(format!("`{}` is no place for states", asked.to));
            return Err(
                problem.hint("they are kept in s3://BUCKET/PREFIX, in a folder, or `local`, in .epid/state")
            );
        }
        if asked.region.is_some() || asked.endpoint.is_some() {
            return Err(Error::invalid(
                "--region and --endpoint are of buckets, and this is a folder",
            ));
        }
        settings.extend(folder(context, &project.root, &asked.to).map(|path| ("path".into(), path)));
        "local"
    };
    for (name, value) in &settings {
        if let Some(problem) = Settings::problem(name, value) {
            return Err(Error::invalid(problem));
        }
    }
    Ok(Settings {
        kind: kind.into(),
        settings,
        span: Span::default(),
    })
}

/// A folder as Epid.toml names it: from the project's, where it is in there. `None` for the one that needs no name.
fn folder(context: &Context, root: &Path, asked: &str) -> Option<Arc<str>> {
    let root = backend::resolved(root);
    let default = backend::default(&root);
    let path: PathBuf = match asked {
        "local" => default.clone(),
        path => backend::resolved(&context.folder.join(path)),
    };
    if path == default {
        return None;
    }
    Some(
        path.strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string()
            .into(),
    )
}

/// What Epid.toml is to say.
fn edited(path: &Path, settings: &Settings) -> Result<String, Error> {
    let text = config::read(path)?;
    set_backend(&text, &settings.kind, &settings.settings)
        .map_err(|error| Error::invalid(format!("{} cannot be changed: {error}", path.display())))
}

fn show(terminal: Terminal, project: &str, (old, new): (&Place, &Place), states: &[Header]) {
    if terminal.json {
        let states = states.iter().map(
            |state| serde_json::json!({"stack": state.stack, "world": state.world, "serial": state.serial}),
        );
        terminal.json(&serde_json::json!({
            "event": "migration",
            "project": project,
            "from": old.to_string(),
            "to": new.to_string(),
            "states": states.collect::<Vec<_>>(),
        }));
        return;
    }
    terminal.line(&format!("{}   {old} → {new}\n", terminal.paint.bold(project)));
    let width = states
        .iter()
        .map(|state| state.stack.chars().count())
        .max()
        .unwrap_or(0);
    for state in states {
        let (stack, world, serial) = (&state.stack, &state.world, state.serial);
        terminal.line(&format!("  {stack:width$}   {world}   state {serial}"));
    }
    let what = match states.len() {
        0 => "no states are left to move".to_owned(),
        1 => "\n  one state moves with its history; nothing is sent to a cloud".to_owned(),
        n => format!("\n  {n} states move with their history; nothing is sent to a cloud"),
    };
    terminal.line(&what);
}
