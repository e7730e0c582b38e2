//! `epid keys`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::config;
use crate::cli::args::{Consent, Keeper, KeysCommand};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::count;
use crate::cli::waiting::patiently;
use crate::cli::workspace::Workspace;
use crate::cli::world::World;
use crate::cli::{Context, run, surroundings};
use crate::program::{StackFile, set_key, set_secret};
use crate::state::{KeyRing, Location, PassphraseProvider, StateError, is_sandbox, sealed_with};

pub(crate) async fn keys(context: &Context, command: KeysCommand) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    match command {
        KeysCommand::Ls => ls(context, &workspace).await,
        KeysCommand::Export {
            folder,
            state_only: _,
        } => export(context, &workspace, &folder).await,
        KeysCommand::Rotate {
            to,
            new_passphrase,
            consent,
        } => {
            let to = if new_passphrase {
                Some(Keeper::Passphrase)
            } else {
                to
            };
            rotate(context, &workspace, to, new_passphrase, consent).await
        }
    }
}

/// The states of the project, in every world.
async fn states(workspace: &Workspace) -> Result<Vec<Location>, Error> {
    let cloud = workspace.location(&World::cloud(), "*");
    workspace.store.stays(&cloud).await?;
    let kept = workspace.store.list().await?.into_iter();
    Ok(kept
        .filter(|location| location.project == workspace.project.name)
        .collect())
}

async fn ls(context: &Context, workspace: &Workspace) -> Result<Exit, Error> {
    let here = workspace.keys.ids()?;
    let mut uses: BTreeMap<String, Vec<String>> = here.iter().map(|id| (id.clone(), Vec::new())).collect();
    let mut note = |id: &str, what: String| {
        let of = uses.entry(id.to_owned()).or_default();
        if !of.contains(&what) {
            of.push(what);
        }
    };
    for location in states(workspace).await? {
        for (at, id) in workspace.store.sealers(&location).await?.iter().enumerate() {
            let (stack, world) = (&location.stack, &location.world);
            let before = if at == 0 { "" } else { ", before its last run" };
            note(id, format!("the state of {stack} in {world}{before}"));
        }
    }
    for stack in &workspace.project.stacks {
        for (name, (sealed, _)) in &stack.secrets {
            if let Some(id) = sealed_with(sealed) {
                note(id, format!("{name} in {}", stack.path.display()));
            }
        }
    }
    #[cfg(feature = "sandbox")]
    {
        let folder = crate::cli::world::folder(&workspace.project.root);
        let world = crate::cli::sealed_world::SealedWorld::new(&folder, &workspace.keys).sealer();
        if let Some(id) = world {
            note(&id, "the world of the sandbox".to_owned());
        }
    }
    let current = workspace.keys.current()?;
    let terminal = context.terminal;
    for (id, uses) in &uses {
        let is_here = here.contains(id);
        let is_current = current.as_ref() == Some(id);
        let provider = workspace.keys.provider_of(id)?;
        if terminal.json {
            terminal.json(&serde_json::json!({
                "event": "key", "id": id, "here": is_here, "provider": provider, "current": is_current, "seals": uses,
            }));
            continue;
        }
        let mark = if is_current { "*" } else { " " };
        let note = match provider.as_deref() {
            Some(KeyRing::FILE) if workspace.keys.is_part(id)? => "   only its state part".to_owned(),
            Some(KeyRing::FILE) => String::new(),
            Some(provider) => format!("   sealed with a {provider}"),
            None => format!("   {}", terminal.paint.yellow("not here")),
        };
        terminal.line(&format!("{mark} {id}{note}"));
        for what in uses {
            terminal.line(&format!("      {what}"));
        }
        if uses.is_empty() {
            terminal.line("      no state and no secret; saved plans, exports and backups may need it");
        }
    }
    Ok(Exit::Done)
}

/// Writes the part that opens states of each key that seals one.
async fn export(context: &Context, workspace: &Workspace, folder: &Path) -> Result<Exit, Error> {
    let mut ids = BTreeSet::new();
    for location in states(workspace).await? {
        ids.extend(workspace.store.sealers(&location).await?);
    }
    if ids.is_empty() {
        return Err(Error::invalid("no stack has a state yet").hint("`epid up` makes one"));
    }
    let folder = context.folder.join(folder);
    workspace
        .keys
        .export_state_parts(ids.iter().map(String::as_str), &folder)?;
    context.terminal.done(&format!(
        "the state part of {} written to {}; in .epid/keys it opens states for `epid preview`, and no secret",
        count(ids.len(), "key", "keys"),
        folder.display()
    ));
    Ok(Exit::Done)
}

/// What a stack file would say with its secrets sealed by another key. The values do not change.
fn resealed(
    keys: &KeyRing,
    now: &Workspace,
    stack: &StackFile,
    old: &str,
    id: &str,
) -> Result<String, Error> {
    let refused = |error| config::refused(now, stack, &error);
    let mut text = set_key(old, id).map_err(refused)?;
    for (name, (sealed, _)) in &stack.secrets {
        // A text that is sealed so already stays the same.
        if sealed_with(sealed) == Some(id) {
            continue;
        }
        let value = keys.unseal_config(name, sealed)?;
        let sealed = keys.seal_config(id, name, &value, &surroundings::randomness())?;
        text = set_secret(&text, name, &sealed, id).map_err(refused)?;
    }
    Ok(text)
}

/// Does `work` with each state that nobody else holds, and tells which are held. One that was removed meanwhile needs none.
async fn each(
    states: &[Location],
    work: impl AsyncFn(&Location) -> Result<(), StateError>,
) -> Result<(), Error> {
    let mut locked = Vec::new();
    for location in states {
        match work(location).await {
            Err(error) if error.is_locked() => locked.push(error),
            Err(StateError::NotFound(_)) => {}
            done => done?,
        }
    }
    if locked.is_empty() {
        Ok(())
    } else {
        Err(Error::Other {
            exit: Exit::Locked,
            message: StateError::SomeLocked(locked).to_string(),
            hint: Some(
                "everything stays readable; the same command goes on with these, and --wait waits for them"
                    .to_owned(),
            ),
        })
    }
}

fn counted(states: usize, secrets: usize) -> String {
    format!(
        "{} and {}",
        count(states, "state", "states"),
        count(secrets, "secret", "secrets")
    )
}

/// The sandbox as it is, where a state is in one.
fn sandbox_of(workspace: &Workspace, states: &[Location]) -> Result<Option<World>, Error> {
    let simulated = states.iter().any(|location| is_sandbox(&location.world));
    simulated.then(|| World::sandbox(workspace, None)).transpose()
}

/// Makes sure that everything can be opened, before anything is sealed anew; tells how much that is.
async fn openable(workspace: &Workspace) -> Result<String, Error> {
    // A stack file that cannot be read may hold a secret: none is left behind.
    workspace.every()?;
    let mut secrets = 0;
    for (name, (sealed, _)) in workspace.project.stacks.iter().flat_map(|stack| &stack.secrets) {
        workspace.keys.unseal_config(name, sealed)?;
        secrets += 1;
    }
    let states = states(workspace).await?;
    for location in &states {
        workspace.writable(location).await?;
    }
    sandbox_of(workspace, &states)?;
    Ok(counted(states.len(), secrets))
}

/// Seals the secrets in all stack files as they are now with the key `id`, and tells how many there are.
fn seal_secrets(context: &Context, keys: &KeyRing, id: &str) -> Result<usize, Error> {
    let now = context.workspace()?;
    now.every()?;
    let stacks = &now.project.stacks;
    for stack in stacks {
        let (path, old) = config::file(&now, stack)?;
        let new = resealed(keys, &now, stack, &old, id)?;
        if new != old {
            config::write_stack(&path, &new)?;
        }
    }
    Ok(stacks.iter().map(|stack| stack.secrets.len()).sum())
}

/// True where no state needs another key than `id`.
async fn are_sealed(workspace: &Workspace, id: &str) -> Result<bool, Error> {
    for location in states(workspace).await? {
        let sealers = workspace.store.sealers(&location).await?;
        if sealers.iter().any(|sealer| sealer != id) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Seals all states, outputs and secrets with the key `id`, and tells how many that were. A stack that begins meanwhile may know
/// the old key only, so it looks again until nothing is left.
async fn seal(context: &Context, workspace: &Workspace, id: &str, wait: bool) -> Result<String, Error> {
    let (terminal, store) = (context.terminal, &workspace.store);
    let holder = surroundings::holder(&context.command);
    let cloud = World::cloud();
    loop {
        let states = states(workspace).await?;
        let sandbox = sandbox_of(workspace, &states)?;
        let rekey = async |location: &Location| {
            let world = sandbox.as_ref().filter(|_| is_sandbox(&location.world));
            let run = run::started(context, workspace, world.unwrap_or(&cloud));
            store.rekey(location, id, holder.clone(), &run).await.map(drop)
        };
        let reshare = async |location: &Location| store.reshare(location, &holder).await;
        patiently(terminal, wait, async || each(&states, rekey).await).await?;
        patiently(terminal, wait, async || each(&states, reshare).await).await?;
        let secrets = seal_secrets(context, &workspace.keys, id)?;
        if are_sealed(workspace, id).await? {
            return Ok(counted(states.len(), secrets));
        }
    }
}

/// Whatever is sealed is opened by a key that stays, so this may end anywhere: the next one goes on with the same new key.
async fn rotate(
    context: &Context,
    workspace: &Workspace,
    to: Option<Keeper>,
    renew: bool,
    consent: Consent,
) -> Result<Exit, Error> {
    let (terminal, keys) = (context.terminal, &workspace.keys);
    let what = openable(workspace).await?;
    if !terminal.consents(consent.yes, &format!("Seal {what} with a new key?"))? {
        return Ok(Exit::Done);
    }
    let take = async || Ok(keys.lock_rotation()?);
    let lock = patiently(terminal, consent.wait, take).await?;
    #[cfg(feature = "sandbox")]
    let take = async || crate::cli::sandbox::held(context, workspace);
    #[cfg(feature = "sandbox")]
    let world = patiently(terminal, consent.wait, take).await?;
    let to = to.map(|to| match to {
        Keeper::File => KeyRing::FILE,
        Keeper::Passphrase => PassphraseProvider::NAME,
    });
    let id = keys.start_rotation(&lock, to, renew, &surroundings::randomness())?;
    let what = seal(context, workspace, &id, consent.wait).await?;
    #[cfg(feature = "sandbox")]
    {
        // One that began meanwhile knows the old key only.
        let world = match world {
            None => patiently(terminal, consent.wait, take).await?,
            world => world,
        };
        if let Some(world) = world {
            crate::cli::sandbox::reseal(workspace, world, &id)?;
        }
    }
    keys.end_rotation(&lock, &id)?;
    let next = match keys.provider_of(&id)?.as_deref() {
        Some(PassphraseProvider::NAME) => {
            "commit Epid.keys.toml, and tell the passphrase to whoever works on this"
        }
        _ => "give its file to whoever works on this",
    };
    terminal.done(&format!(
        "{what} sealed with {id}; {next}. The old keys stay: what was sealed with them before, in backups and in the \
         repository's history, is still opened by them, and nothing that is written from now on"
    ));
    Ok(Exit::Done)
}
