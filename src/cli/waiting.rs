//! `--wait`: whoever wants what another run holds looks again until that has ended.

use std::time::Duration;

use super::error::Error;
use super::ui::Terminal;
use super::workspace::Workspace;
use super::{Context, surroundings};
use crate::state::{Location, Opening, Session};

/// How often whoever waits looks.
const LOOK: Duration = Duration::from_secs(1);

/// Does `work`, and while another run holds what it needs and `wait` is given, again; what is waited for is said once.
///
/// # Errors
/// Those of `work`; that something is locked only where nobody waits.
pub(crate) async fn patiently<R>(
    terminal: Terminal,
    wait: bool,
    mut work: impl AsyncFnMut() -> Result<R, Error>,
) -> Result<R, Error> {
    let mut told = None;
    loop {
        match work().await {
            Err(error) if wait && error.is_locked() => {
                let text = error.to_string();
                if told.as_ref() != Some(&text) {
                    terminal.note(&format!("waiting: {text}"));
                    told = Some(text);
                }
                surroundings::pause(LOOK).await;
            }
            done => return done,
        }
    }
}

/// With `wait`, lets whoever holds a stack end first, so that what is shown is what will be changed.
///
/// # Errors
/// What cannot be closed. Everything else is for who goes on to meet.
pub(crate) async fn after_others(
    context: &Context,
    workspace: &Workspace,
    location: &Location,
    wait: bool,
) -> Result<(), Error> {
    if !wait {
        return Ok(());
    }
    let open = async || {
        let opening = Opening::new(surroundings::holder(&context.command));
        match Session::open(&workspace.store, location, opening).await {
            Ok(session) => Ok(session.close().await?),
            Err(error) if error.is_locked() => Err(error.into()),
            Err(_) => Ok(()),
        }
    };
    patiently(context.terminal, wait, open).await
}
