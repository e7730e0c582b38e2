//! What instances were called before: aliases of a declaration, of its parts, and of the component it is in.

use std::sync::Arc;

use epid_provider::{Kind, Urn};

use super::instance_address;
use crate::program::declaration::{Declaration, PartAlias};

/// What a declaration was called before: its own aliases within its component, and its name in what the component was
/// called before.
pub(super) fn aliases(
    declaration: &Declaration,
    parent: Option<&str>,
    parent_aliases: &[Arc<str>],
) -> Vec<Arc<str>> {
    let mut all: Vec<Arc<str>> = Vec::new();
    let mut add = |alias: Arc<str>| {
        if !all.contains(&alias) {
            all.push(alias);
        }
    };
    for own in &declaration.options.aliases {
        match parent {
            Some(parent) if Urn::parse(own).is_err() => add(format!("{parent}/{own}").into()),
            _ => add(own.clone()),
        }
    }
    for parent in parent_aliases {
        add(within(parent, &declaration.name, &declaration.kind));
        for own in declaration
            .options
            .aliases
            .iter()
            .filter(|own| Urn::parse(own).is_err())
        {
            add(within(parent, own, &declaration.kind));
        }
    }
    all
}

/// A name in what a component was called before.
fn within(parent: &str, name: &str, kind: &Kind) -> Arc<str> {
    match Urn::parse(parent) {
        Ok(urn) => {
            let path = format!("{}/{name}", urn.path());
            Arc::from(Urn::new(urn.project(), urn.stack(), kind, &path).as_str())
        }
        Err(_) => format!("{parent}/{name}").into(),
    }
}

/// What one instance of a `forEach` was called where that was said of all of them: a name with a key is that of the instance
/// of that key, any other has this one's. An only instance has them all.
pub(super) fn keyed(alias: &Arc<str>, address: &str, key: &str, only: bool) -> Vec<Arc<str>> {
    let mut all = Vec::new();
    if alias.ends_with(']') {
        let same = alias.ends_with(&format!("[\"{key}\"]"));
        all.extend((same || only).then(|| alias.clone()));
        return all;
    }
    if path_of(alias) != address {
        all.push(instance_address(alias, key).into());
    }
    all.extend(only.then(|| alias.clone()));
    all
}

/// The path of an address or a URN.
pub(super) fn path_of(alias: &str) -> String {
    Urn::parse(alias).map_or_else(|_| alias.to_owned(), |urn| urn.path().to_owned())
}

/// Of what was said of parts: what one of them was called, and what was said of its parts.
pub(super) fn within_part(all: &[PartAlias], part: &str) -> (std::vec::IntoIter<Arc<str>>, Vec<PartAlias>) {
    let (mut own, mut parts) = (Vec::new(), Vec::new());
    for alias in all {
        match alias.way.split_first() {
            Some((first, [])) if **first == *part => own.push(alias.before.clone()),
            Some((first, rest)) if **first == *part => parts.push(PartAlias {
                way: rest.to_vec(),
                before: alias.before.clone(),
            }),
            _ => {}
        }
    }
    (own.into_iter(), parts)
}
