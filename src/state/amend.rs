//! What a person changes in a state by hand: as changes of records, or a refusal. Nothing is asked of a cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid_provider::Urn;

use super::entry::{Entry, RecordKey};
use super::journal_entry::{Change, Intent};
use super::snapshot::Snapshot;

/// Why a state is not changed by hand. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing of that name is recorded.
    #[error("nothing is recorded of `{0}`")]
    Unknown(String),
    /// A call of that resource was begun that has to do with the record, and nobody knows yet how it ended.
    #[error("the outcome of a call for `{}` is not known yet", .0.path())]
    Unfinished(Urn),
    /// The new name is used.
    #[error("`{}` is recorded already", .0.path())]
    NameUsed(Urn),
    /// A text is no address.
    #[error("`{0}` is no address: one looks like `curator/deployment` or `subnet[\"a\"]`")]
    NoAddress(String),
    /// The new name is one of another stack or of another kind.
    #[error("`{to}` is not of the stack and kind of `{}`", .urn.path())]
    Elsewhere {
        /// What would be renamed.
        urn: Urn,
        /// The name it would get.
        to: String,
    },
    /// Records that stay depend on it.
    #[error("`{}` is needed by {}", .urn.path(), paths(.by))]
    Needed {
        /// What would leave.
        urn: Urn,
        /// What depends on it.
        by: Vec<Urn>,
    },
    /// It is protected.
    #[error("`{}` is protected", .0.path())]
    Protected(Urn),
    /// A copy is of a state that this one did not come from.
    #[error("it is of another state of that name (lineage {found}, not {lineage})")]
    OtherLineage {
        /// The lineage of the state.
        lineage: Arc<str>,
        /// The lineage of the copy.
        found: Arc<str>,
    },
    /// A copy is older than the state, or as old and something else.
    #[error("it is of run {found}, and the state is at run {serial}")]
    Older {
        /// The serial of the state.
        serial: u64,
        /// The serial of the copy.
        found: u64,
    },
    /// What is to be taken back has changed more than records.
    #[error("run {run} sent {} to a cloud", said(*.calls))]
    Called {
        /// The run.
        run: u64,
        /// How many calls it sent.
        calls: usize,
    },
    /// Calls whose outcome is not known would be forgotten, or taken from another time.
    #[error("the outcome of {} is not known yet", said(*.0))]
    Dangling(usize),
}

impl Refused {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(_) => "`epid state ls` lists what is".to_owned(),
            Self::Unfinished(urn) => format!(
                "`epid up` or `epid destroy` finds out first; where nobody can tell, `epid state rm {}` lets go of it",
                urn.path()
            ),
            Self::Dangling(_) => "`epid up` or `epid destroy` finds out first".to_owned(),
            Self::NameUsed(urn) => format!("take another name, or `epid state rm {}` first", urn.path()),
            Self::NoAddress(_) => "names are joined by `/`; a URN is taken too".to_owned(),
            Self::Elsewhere { .. } => "give the new address alone: the rest stays as it is".to_owned(),
            Self::Needed { .. } => "name those too, or leave it".to_owned(),
            Self::OtherLineage { .. } => {
                "a state that was removed and made anew is another one; `epid import` takes over what exists"
                    .to_owned()
            }
            Self::Older { .. } => {
                "what was recorded since would be forgotten, and stay in the cloud; --force does that"
                    .to_owned()
            }
            Self::Called { .. } => {
                "change the program back and run `epid up`: the records must tell what exists".to_owned()
            }
            Self::Protected(urn) => format!("`epid state unprotect {}` first", urn.path()),
        }
    }
}

fn said(n: usize) -> String {
    if n == 1 {
        "a call".to_owned()
    } else {
        format!("{n} calls")
    }
}

fn paths(urns: &[Urn]) -> String {
    let names: Vec<String> = urns
        .iter()
        .take(5)
        .map(|urn| format!("`{}`", urn.path()))
        .collect();
    let more = urns.len() - names.len();
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", names.join(", "))
}

impl Snapshot {
    /// The URNs that get another name where `old`, an address or a URN, becomes `new`: those of that name, and those below it.
    ///
    /// # Errors
    /// [`Refused`] where nothing has the old name, or the new one is used or none.
    pub fn renames(&self, old: &str, new: &str) -> Result<BTreeMap<Urn, Urn>, Refused> {
        let address = Urn::parse(new).map_or_else(|_| new.to_owned(), |urn| urn.path().to_owned());
        if !is_address(&address) {
            return Err(Refused::NoAddress(new.to_owned()));
        }
        let mut renames = BTreeMap::new();
        for entry in self.entries.values() {
            let urn = entry.urn();
            let rest = if old.starts_with("urn:") {
                (urn.as_str() == old).then_some("")
            } else {
                let rest = urn.path().strip_prefix(old);
                rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '[']))
            };
            let Some(rest) = rest else { continue };
            let path = format!("{address}{rest}");
            let to = Urn::new(urn.project(), urn.stack(), &entry.record.kind, &path);
            if new.starts_with("urn:") && to.as_str() != format!("{new}{rest}") {
                let (urn, to) = (urn.clone(), new.to_owned());
                return Err(Refused::Elsewhere { urn, to });
            }
            renames.insert(urn.clone(), to);
        }
        if renames.is_empty() {
            return Err(Refused::Unknown(old.to_owned()));
        }
        let begun = self.intents.values().map(|intent| intent.entry.urn());
        let known: BTreeSet<&Urn> = self.entries.keys().map(|key| &key.urn).chain(begun).collect();
        // An address names one resource of a stack, whatever its kind.
        let addresses: BTreeSet<&str> = known.iter().map(|urn| urn.path()).collect();
        match renames.values().find(|to| addresses.contains(to.path())) {
            Some(used) => Err(Refused::NameUsed(used.clone())),
            None => Ok(renames),
        }
    }

    /// The changes that give records other names. What points to them, or was made by them, follows.
    ///
    /// # Errors
    /// [`Refused::Unfinished`].
    pub fn renaming(&self, renames: &BTreeMap<Urn, Urn>) -> Result<Vec<Change>, Refused> {
        self.refuse_unfinished(|urn| renames.contains_key(urn), mentions)?;
        let mut changes = Vec::new();
        for (key, entry) in &self.entries {
            let mut new = (**entry).clone();
            follow(&mut new, renames);
            if new != **entry {
                if new.key_of() != *key {
                    changes.push(Change::Remove(key.clone()));
                }
                changes.push(Change::Put(Box::new(new)));
            }
        }
        Ok(changes)
    }

    /// The changes that drop all records of some URNs; what they are of stays where it is. And the calls of whose outcome nobody
    /// knows, of those URNs that are `named` one by one: the way out where nobody can ever tell.
    ///
    /// # Errors
    /// [`Refused::Needed`] where others depend on them, [`Refused::Protected`], [`Refused::Unfinished`] where another call is
    /// for one of them, or needs one.
    pub fn forgetting(
        &self,
        urns: &BTreeSet<Urn>,
        named: &BTreeSet<Urn>,
    ) -> Result<(Vec<Change>, Vec<Arc<Intent>>), Refused> {
        let (ended, others): (Vec<_>, Vec<_>) = self
            .intents
            .values()
            .partition(|intent| named.contains(intent.entry.urn()));
        let needs = |intent: &&&Arc<Intent>| urns.iter().any(|urn| mentions(intent, urn));
        if let Some(intent) = others.iter().find(needs) {
            return Err(Refused::Unfinished(intent.entry.urn().clone()));
        }
        // What is protected stays recorded where a call of it ends.
        let has_ended = |urn: &Urn| ended.iter().any(|intent| intent.entry.urn() == urn);
        let is_protected = |urn: &Urn| self.of(urn).any(|entry| entry.protect);
        let (protected, urns): (BTreeSet<Urn>, BTreeSet<Urn>) = urns.iter().cloned().partition(is_protected);
        if let Some(urn) = protected.into_iter().find(|urn| !has_ended(urn)) {
            return Err(Refused::Protected(urn));
        }
        for urn in &urns {
            let needs = |entry: &Entry| pointed(entry).any(|to| to == urn);
            let stays = self.entries.values().filter(|entry| !urns.contains(entry.urn()));
            let by: BTreeSet<Urn> = stays.filter(|e| needs(e)).map(|e| e.urn().clone()).collect();
            if !by.is_empty() {
                let (urn, by) = (urn.clone(), by.into_iter().collect());
                return Err(Refused::Needed { urn, by });
            }
        }
        let leaving = self.entries.keys().filter(|key| urns.contains(&key.urn));
        let changes = leaving.cloned().map(Change::Remove).collect();
        Ok((changes, ended.into_iter().cloned().collect()))
    }

    /// The changes that protect records of some URNs, or do not protect them any more; none where they are so already.
    ///
    /// # Errors
    /// [`Refused::Unfinished`]: the end of the call would bring back what was recorded when it was begun.
    pub fn protecting(&self, urns: &BTreeSet<Urn>, protect: bool) -> Result<Vec<Change>, Refused> {
        let of = self
            .entries
            .values()
            .filter(|e| urns.contains(e.urn()) && e.protect != protect);
        let changing: Vec<&Arc<Entry>> = of.collect();
        let touched: BTreeSet<&Urn> = changing.iter().map(|entry| entry.urn()).collect();
        self.refuse_unfinished(
            |urn| touched.contains(urn),
            |intent, urn| intent.entry.urn() == urn,
        )?;
        let put = |entry: &&Arc<Entry>| {
            Change::Put(Box::new(Entry {
                protect,
                ..(***entry).clone()
            }))
        };
        Ok(changing.iter().map(put).collect())
    }

    /// The changes, and the calls that would dangle again, that make this state what `copy` is. Edges to what is in neither
    /// are left out: they mean nothing any more.
    ///
    /// # Errors
    /// [`Refused::OtherLineage`]; [`Refused::Older`] unless that is meant (`force`); [`Refused::Dangling`] where calls whose
    /// outcome is not known yet would be forgotten, or may have ended since the copy was made.
    pub fn restoring(&self, copy: &Self, force: bool) -> Result<(Vec<Change>, Vec<Arc<Intent>>), Refused> {
        let (header, found) = (&self.header, &copy.header);
        if !header.lineage.is_empty() && header.lineage != found.lineage {
            let (lineage, found) = (header.lineage.clone(), found.lineage.clone());
            return Err(Refused::OtherLineage { lineage, found });
        }
        let known = |urn: &Urn| self.external.contains(urn) || copy.of(urn).next().is_some();
        let mut changes = Vec::new();
        for key in self.entries.keys().filter(|key| !copy.entries.contains_key(*key)) {
            changes.push(Change::Remove(key.clone()));
        }
        for (key, entry) in &copy.entries {
            let entry = without_edges(entry, known);
            if self.get(key) != Some(&entry) {
                changes.push(Change::Put(Box::new(entry)));
            }
        }
        let begun = copy
            .intents
            .iter()
            .filter(|(token, _)| !self.intents.contains_key(*token));
        let intents: Vec<Arc<Intent>> = begun
            .map(|(_, intent)| {
                let entry = Box::new(without_edges(&intent.entry, known));
                Arc::new(Intent {
                    entry,
                    ..(**intent).clone()
                })
            })
            .collect();
        let older = !self.is_empty() && found.serial <= header.serial;
        let lost = self
            .intents
            .keys()
            .filter(|token| !copy.intents.contains_key(*token));
        let lost = lost.count();
        if lost > 0 {
            return Err(Refused::Dangling(lost));
        }
        if older && !intents.is_empty() {
            return Err(Refused::Dangling(intents.len()));
        }
        if older && !force && !changes.is_empty() {
            let (serial, found) = (header.serial, found.serial);
            return Err(Refused::Older { serial, found });
        }
        Ok((changes, intents))
    }

    /// Refuses where a dangling intent has to do with a record that is about to change: what it says when it ends would not
    /// fit any more.
    fn refuse_unfinished(
        &self,
        touched: impl Fn(&Urn) -> bool,
        concerns: impl Fn(&Intent, &Urn) -> bool,
    ) -> Result<(), Refused> {
        if self.intents.is_empty() {
            return Ok(());
        }
        let begun = self.intents.values().map(|intent| intent.entry.urn());
        let all = self.entries.keys().map(|key| &key.urn).chain(begun);
        for urn in all.filter(|urn| touched(urn)) {
            if let Some(intent) = self.intents.values().find(|intent| concerns(intent, urn)) {
                return Err(Refused::Unfinished(intent.entry.urn().clone()));
            }
        }
        Ok(())
    }
}

/// The entry without edges to what nobody knows.
fn without_edges(entry: &Entry, known: impl Fn(&Urn) -> bool) -> Entry {
    let mut entry = entry.clone();
    entry.dependencies.retain(&known);
    entry.served_by.retain(&known);
    entry.deleted_with = entry.deleted_with.filter(|urn| known(urn));
    entry
}

/// Every URN that an entry points to, the provider that made it too.
fn pointed(entry: &Entry) -> impl Iterator<Item = &Urn> {
    entry.edges().chain(entry.provider.iter().map(|key| &key.urn))
}

/// True where an intent, or what it would record, is of a URN or points to it.
fn mentions(intent: &Intent, urn: &Urn) -> bool {
    let entries = [Some(&*intent.entry), intent.before.as_deref()];
    let mut entries = entries.into_iter().flatten();
    entries.any(|entry| entry.urn() == urn || pointed(entry).any(|to| to == urn))
}

/// Takes other names into an entry: its own, and those it points to.
fn follow(entry: &mut Entry, renames: &BTreeMap<Urn, Urn>) {
    let take = |urn: &mut Urn| {
        if let Some(new) = renames.get(urn) {
            urn.clone_from(new);
        }
    };
    take(&mut entry.record.urn);
    entry.dependencies.iter_mut().for_each(take);
    entry.deleted_with.iter_mut().for_each(take);
    entry.served_by.iter_mut().for_each(take);
    if let Some(RecordKey { urn, .. }) = &mut entry.provider {
        take(urn);
    }
}

/// Names joined by `/`, with keys of `forEach` in brackets.
fn is_address(text: &str) -> bool {
    let (mut quoted, mut escaped, mut named) = (false, false, false);
    for c in text.chars() {
        if c.is_control() {
            return false;
        }
        if quoted {
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '/' if !named => return false,
            '/' => named = false,
            '"' => quoted = true,
            '[' | ']' | '-' | '_' | '.' => {}
            c if c.is_alphanumeric() => named = true,
            _ => return false,
        }
    }
    named && !quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for good in ["a", "network/vpc", r#"subnet["a/b c"]"#, "a_b-c/d", r#"x["a"]/y"#] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a b", "*", "urn:x", "a\n", r#"a["b"#] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
