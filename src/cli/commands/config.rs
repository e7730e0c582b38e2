//! `epid config`.
#![expect(
    clippy::disallowed_methods,
    reason = "these commands exist to edit stack files"
)]

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use epid_provider::Value;
use epid_provider::check::nearest;

use crate::cli::args::{ConfigCommand, StackArgs};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::shown_json;
use crate::cli::waiting::patiently;
use crate::cli::workspace::Workspace;
use crate::cli::{Context, surroundings};
use crate::program::{ConfigType, EditError, StackFile, set_config, set_secret, unset};
use crate::state::files::{Access, replace, sweep};
use crate::state::{KeyRing, RotationLock, StateError};

pub(crate) async fn config(context: &Context, command: ConfigCommand) -> Result<Exit, Error> {
    match command {
        ConfigCommand::Get {
            stack,
            name,
            show_secret,
        } => get(context, &stack, &name, show_secret),
        ConfigCommand::Set {
            stack,
            name,
            value,
            secret,
            new_key,
            wait,
        } => {
            let how = How {
                secret,
                new_key,
                wait,
            };
            set(context, &stack, &name, value, how).await
        }
        ConfigCommand::Rm { stack, name, wait } => rm(context, &stack, &name, wait).await,
        ConfigCommand::Ls { stack, show_secrets } => ls(context, &stack, show_secrets),
    }
}

pub(super) fn file(workspace: &Workspace, stack: &StackFile) -> Result<(PathBuf, String), Error> {
    let path = workspace.project.root.join(&stack.path);
    let text = read(&path)?;
    Ok((path, text))
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::failed(format!("{} cannot be read: {error}", path.display())))
}

/// Writes a stack file, which is done under the lock of the keys alone: what somebody who died left beside it goes.
pub(super) fn write_stack(path: &Path, text: &str) -> Result<(), Error> {
    if let Ok(target) = path.canonicalize()
        && let Some(folder) = target.parent()
    {
        // What stays is in nobody's way.
        drop(sweep(folder, target.file_name()));
    }
    write(path, text)
}

/// Replaces a file as one: whoever reads it sees the old text or the new one. It keeps its permissions, and a link stays one.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed =
        |error: std::io::Error| Error::failed(format!("{} cannot be written: {error}", path.display()));
    path.canonicalize()
        .and_then(|target| replace(&target, text.as_bytes(), Access::Kept))
        .map_err(failed)
}

/// An error of editing; where the file is no TOML, what is wrong with it at its place.
pub(super) fn refused(workspace: &Workspace, stack: &StackFile, error: &EditError) -> Error {
    match error {
        EditError::Syntax(_) => workspace.wrong_with(&stack.name),
        other => Error::invalid(other.to_string()),
    }
}

/// With the name that was probably meant.
fn suggest(problem: Error, name: &str, names: &[String], otherwise: String) -> Error {
    problem.hint(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise,
    })
}

fn value_of(
    workspace: &Workspace,
    stack: &StackFile,
    name: &str,
    secrets: bool,
) -> Result<Option<Value>, Error> {
    if let Some((value, _)) = stack.config.get(name) {
        return Ok(Some(value.clone()));
    }
    let Some((sealed, _)) = stack.secrets.get(name) else {
        let declared = stack.program.config.iter().find(|c| &*c.name == name);
        return Ok(declared.and_then(|c| c.default.clone()));
    };
    if secrets {
        Ok(Some(workspace.keys.unseal_config(name, sealed)?.into_secret()))
    } else {
        Ok(Some(Value::Null.into_secret()))
    }
}

fn text_of(value: &Value, secrets: bool) -> String {
    if value.has_secret() && !secrets {
        return "(secret)".to_owned();
    }
    let bare = value.expose();
    bare.as_str()
        .map_or_else(|| shown_json(bare, true).to_string(), str::to_owned)
}

fn get(context: &Context, args: &StackArgs, name: &str, secrets: bool) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let (stack, _) = workspace.editable(args.stack.as_deref())?;
    let Some(value) = value_of(&workspace, stack, name, secrets)? else {
        let names = names(stack);
        let problem = Error::invalid(format!("stack `{}` has no setting `{name}`", stack.name));
        return Err(suggest(
            problem,
            name,
            &names,
            "`epid config ls` lists them".to_owned(),
        ));
    };
    if value.has_secret() && !secrets {
        return Err(Error::invalid(format!("`{name}` is secret")).hint("--show-secret prints it"));
    }
    if context.terminal.json {
        let value = shown_json(&value, secrets);
        let document = serde_json::json!({"event": "setting", "name": name, "value": value});
        context.terminal.json(&document);
    } else {
        context.terminal.line(&text_of(&value, secrets));
    }
    Ok(Exit::Done)
}

fn names(stack: &StackFile) -> Vec<String> {
    let declared = stack.program.config.iter().map(|c| &c.name);
    let mut names: Vec<String> = declared
        .chain(stack.config.keys())
        .chain(stack.secrets.keys())
        .map(ToString::to_string)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn ls(context: &Context, args: &StackArgs, secrets: bool) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let (stack, _) = workspace.editable(args.stack.as_deref())?;
    let names = names(stack);
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    for name in &names {
        let value = value_of(&workspace, stack, name, secrets)?;
        if context.terminal.json {
            let value = value.as_ref().map(|v| shown_json(v, secrets));
            context
                .terminal
                .json(&serde_json::json!({"event": "setting", "name": name, "value": value}));
            continue;
        }
        let text = value.map_or_else(|| "(missing)".to_owned(), |v| text_of(&v, secrets));
        context.terminal.line(&format!("{name:width$}   {text}"));
    }
    Ok(Exit::Done)
}

/// How a value is written.
#[derive(Debug, Clone, Copy)]
struct How {
    /// Encrypted.
    secret: bool,
    /// With a key that is here, whatever the stack names.
    new_key: bool,
    /// Once a rotation of the keys has ended.
    wait: bool,
}

/// Keeps a rotation from the stack files, and gives the project as it is from then on: what is edited is never what it was before
/// it was sealed anew.
async fn locked(context: &Context, keys: &KeyRing, wait: bool) -> Result<(RotationLock, Workspace), Error> {
    let lock = patiently(context.terminal, wait, async || Ok(keys.lock_rotation()?)).await?;
    Ok((lock, context.workspace()?))
}

async fn set(
    context: &Context,
    args: &StackArgs,
    name: &str,
    value: Option<String>,
    how: How,
) -> Result<Exit, Error> {
    let How {
        secret,
        new_key,
        wait,
    } = how;
    let workspace = context.workspace()?;
    let (stack, whole) = workspace.editable(args.stack.as_deref())?;
    let declared = stack.program.config.iter().find(|c| &*c.name == name);
    // Where not all of the program could be read, it may well take it.
    if declared.is_none() && !stack.program.open_config && whole && !stack.program.incomplete.contains(name) {
        let names: Vec<String> = stack.program.config.iter().map(|c| c.name.to_string()).collect();
        let problem = Error::invalid(format!("the program of stack `{}` takes no `{name}`", stack.name));
        let otherwise = format!("declare it in the program: [config.{name}]");
        return Err(suggest(problem, name, &names, otherwise));
    }
    let secret = secret || declared.is_some_and(|c| c.secret) || stack.secrets.contains_key(name);
    let text = match value {
        Some(value) => {
            if secret {
                context
                    .terminal
                    .note("a value on the command line stays in the shell's history; left out, it is asked for or read from standard input");
            }
            value
        }
        None => ask(context, name, secret)?,
    };
    // What is not declared keeps the type it has.
    let had = stack
        .config
        .get(name)
        .and_then(|(value, _)| ConfigType::of(value));
    let value = typed(name, text, declared.map(|c| c.ty).or(had), secret)?;
    let (_lock, workspace) = locked(context, &workspace.keys, wait).await?;
    let (stack, _) = workspace.editable(args.stack.as_deref())?;
    let (path, old) = file(&workspace, stack)?;
    let new = if secret {
        seal(&workspace, stack, name, &value, &old, new_key)?
    } else {
        set_config(&old, name, &value).map_err(|error| refused(&workspace, stack, &error))?
    };
    if new != old {
        write_stack(&path, &new)?;
    }
    let what = if secret { "sealed" } else { "set" };
    context
        .terminal
        .done(&format!("{name} {what} in {}", stack.path.display()));
    Ok(Exit::Done)
}

fn seal(
    workspace: &Workspace,
    stack: &StackFile,
    name: &str,
    value: &Value,
    old: &str,
    new_key: bool,
) -> Result<String, Error> {
    // The same secret sealed again is another text; a file that says the same stays the same.
    if let Some((sealed, _)) = stack.secrets.get(name)
        && workspace
            .keys
            .unseal_config(name, sealed)
            .is_ok_and(|known| known.expose() == value)
    {
        return Ok(old.to_owned());
    }
    let id = match stack.key.as_ref().filter(|_| !new_key) {
        Some(id) => id.to_string(),
        None => workspace.keys.current_or_mint(&surroundings::randomness())?,
    };
    let sealed = workspace
        .keys
        .seal_config(&id, name, value, &surroundings::randomness())
        .map_err(|error| match error {
            StateError::MissingKey { .. } => Error::invalid(error.to_string())
                .hint("without it, --new-key takes a key that is here: every secret of the stack has to be set anew then"),
            error => error.into(),
        })?;
    set_secret(old, name, &sealed, &id).map_err(|error| refused(workspace, stack, &error))
}

/// Asks for a value: without echo where it is secret.
fn ask(context: &Context, name: &str, secret: bool) -> Result<String, Error> {
    let unreadable = |error: std::io::Error| Error::failed(format!("the value cannot be read: {error}"));
    if !std::io::stdin().is_terminal() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        // A pipe's last line break is the shell's, not the value's.
        let bare = text
            .strip_suffix('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line));
        return Ok(bare.map(str::to_owned).unwrap_or(text));
    }
    context.terminal.note(&format!(
        "value of {name}{}:",
        if secret { " (not shown)" } else { "" }
    ));
    let terminal = console::Term::stderr();
    if secret {
        terminal.read_secure_line()
    } else {
        terminal.read_line()
    }
    .map_err(unreadable)
}

/// The value that a text on the command line means.
fn typed(name: &str, text: String, ty: Option<ConfigType>, secret: bool) -> Result<Value, Error> {
    let no = |what: &str| {
        Error::invalid(if secret {
            format!("`{name}` takes {what}, and the value is something else")
        } else {
            format!("`{name}` takes {what}, not {text:?}")
        })
    };
    Ok(match ty {
        None | Some(ConfigType::String) => Value::from(text),
        Some(ConfigType::Integer) => Value::Int(text.parse().map_err(|_| no("a whole number"))?),
        Some(ConfigType::Number) => match text.parse::<i64>() {
            Ok(n) => Value::Int(n),
            Err(_) => Value::Float(
                text.parse::<f64>()
                    .ok()
                    .filter(|n| n.is_finite())
                    .ok_or_else(|| no("a number"))?,
            ),
        },
        Some(ConfigType::Boolean) => Value::Bool(text.parse().map_err(|_| no("true or false"))?),
        Some(ty @ (ConfigType::List | ConfigType::Map)) => {
            let example = if ty == ConfigType::List {
                "[\"a\", \"b\"]"
            } else {
                "{\"a\": 1}"
            };
            let value: Value = serde_json::from_str(&text).map_err(|error| {
                Error::invalid(format!("`{name}` takes a {ty} in JSON: {error}"))
                    .hint(format!("such as {example}"))
            })?;
            if ty.takes(&value) {
                value
            } else {
                return Err(no(&format!("a {ty} in JSON")));
            }
        }
    })
}

async fn rm(context: &Context, args: &StackArgs, name: &str, wait: bool) -> Result<Exit, Error> {
    let keys = context.workspace()?.keys;
    let (_lock, workspace) = locked(context, &keys, wait).await?;
    let (stack, _) = workspace.editable(args.stack.as_deref())?;
    let (path, old) = file(&workspace, stack)?;
    let new = match unset(&old, name) {
        Ok(new) => new,
        Err(EditError::Missing(_)) => {
            let given = stack.config.keys().chain(stack.secrets.keys());
            let given: Vec<String> = given.map(ToString::to_string).collect();
            let problem = Error::invalid(format!("{} gives no `{name}`", stack.path.display()));
            return Err(suggest(
                problem,
                name,
                &given,
                "`epid config ls` lists what there is".to_owned(),
            ));
        }
        Err(error) => return Err(refused(&workspace, stack, &error)),
    };
    write_stack(&path, &new)?;
    context
        .terminal
        .done(&format!("{name} removed from {}", stack.path.display()));
    Ok(Exit::Done)
}
