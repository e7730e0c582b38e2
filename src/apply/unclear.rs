//! Calls of earlier runs whose outcome nobody can tell yet, and what may not be done meanwhile.

use std::collections::HashMap;

use epid_provider::Urn;

use super::event::Trouble;
use crate::plan::{Action, Step, quoted};
use crate::state::{RecordKey, Snapshot};

/// What open calls were made for, and what they need: each is also asked about through its provider, and ends with what it is in.
#[derive(Default)]
pub(super) struct Unclear {
    /// Whose calls. True where something is recorded of it.
    of: HashMap<Urn, bool>,
    /// What they point to, and for whom.
    needed: HashMap<Urn, Urn>,
    /// What they were made through, and for whom.
    through: HashMap<RecordKey, Urn>,
}

impl Unclear {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut unclear = Self::default();
        for intent in snapshot.intents.values() {
            let urn = intent.entry.urn();
            let is_recorded = snapshot.of(urn).next().is_some();
            unclear.of.insert(urn.clone(), is_recorded);
            for entry in intent.before.iter().chain([&intent.entry]) {
                let needed = entry.edges().map(|to| (to.clone(), urn.clone()));
                unclear.needed.extend(needed);
                let through = entry.provider.iter().map(|key| (key.clone(), urn.clone()));
                unclear.through.extend(through);
            }
        }
        unclear
    }

    /// Refuses a step that touches what such a call is for, or takes away what one needs: removes it, or its name.
    pub(super) fn allows(&self, step: &Step) -> Result<(), Trouble> {
        if self.of.is_empty() || step.action == Action::Nothing {
            return Ok(());
        }
        let mut touched = step.takes.iter().chain(&step.from).chain([&step.target]);
        if let Some(key) = touched.find(|key| self.of.contains_key(&key.urn)) {
            let message = format!(
                "a call of an earlier run may still have changed `{}`, and nobody can tell yet",
                key.urn.path()
            );
            return Err(self.trouble(&key.urn, message));
        }
        let removes = step.action.removes()
            || matches!(step.action, Action::Forget | Action::Drop)
            || (step.action == Action::Record && step.gone);
        let renamed = step.from.iter().filter(|from| from.urn != step.target.urn);
        let mut leaving = step
            .takes
            .iter()
            .chain(renamed)
            .chain(removes.then_some(&step.target));
        let needs = |key: &RecordKey| self.through.get(key).or_else(|| self.needed.get(&key.urn));
        match leaving.find_map(|key| Some((key, needs(key)?))) {
            Some((key, urn)) => {
                let message = format!(
                    "a call for `{}` was made that needs `{}`, and nobody can tell yet what became of it",
                    urn.path(),
                    key.urn.path()
                );
                Err(self.trouble(urn, message))
            }
            None => Ok(()),
        }
    }

    fn trouble(&self, urn: &Urn, message: String) -> Trouble {
        let later = "run the same command again later";
        // What is recorded would be forgotten, too.
        let hint = if self.of.get(urn) == Some(&false) {
            let path = quoted(urn.path());
            format!("{later}; where nobody can ever tell, `epid state rm {path}` lets go of the call")
        } else {
            later.to_owned()
        };
        Trouble {
            unclear: true,
            ..Trouble::new("Unclear", message).hint(hint)
        }
    }
}
