//! What must be true whatever has happened, and what must be able to happen.

use stateright::Property;

use crate::at::At;
use crate::bucket::{Part, Write};
use crate::entries::RESOURCES;
use crate::model::{Protocol, World};

type Rule = (&'static str, fn(&Protocol, &World) -> bool);

/// Always.
pub(crate) const RULES: [Rule; 9] = [
    ("one thing for each resource", one_thing),
    ("what is acknowledged is read", acknowledged),
    ("whoever reads finds a chain", chain),
    ("`state.previous` and the journal are as much", previous),
    ("who was taken over writes nothing that counts", nothing_behind),
    ("a dependent begins behind what it needs", behind),
    ("a call under way has an open intent", intent),
    ("who has the lease is not stopped", undisturbed),
    ("a `state` that is put says what the journal says", known),
];

/// At some time.
pub(crate) const EVENTS: [Rule; 6] = [
    ("a lease is taken over", |_, world| {
        world.sessions.iter().any(|s| s.took_over && s.open)
    }),
    ("a run completes", |protocol, world| complete(protocol, world)),
    ("what a lost call made is found", |_, world| {
        world
            .sessions
            .iter()
            .any(|s| s.queue.done.iter().any(|token| token.session() < s.me))
    }),
    ("a fence stops a writer", |_, world| {
        let fenced = |number| world.bucket.end_of(number).1;
        world
            .sessions
            .iter()
            .any(|s| s.at == At::Append && fenced(s.end.segment))
    }),
    ("a write arrives after its sender was taken over", |_, world| {
        world.late.iter().any(|write| match write {
            Write::Part {
                part: Part::Data { by, .. } | Part::Head { by, .. } | Part::Fence { by },
                ..
            } => world.taken_from(*by),
            Write::File { snapshot, .. } => world.taken_from(snapshot.by),
            _ => false,
        })
    }),
    ("a segment is removed", |_, world| {
        world
            .bucket
            .journal
            .iter()
            .any(|parts| matches!(parts.first(), None | Some(Part::Gone)))
    }),
];

pub(crate) fn all() -> Vec<Property<Protocol>> {
    let rules = RULES
        .into_iter()
        .map(|(name, holds)| Property::always(name, holds));
    let events = EVENTS
        .into_iter()
        .map(|(name, holds)| Property::sometimes(name, holds));
    rules.chain(events).collect()
}

fn one_thing(_: &Protocol, world: &World) -> bool {
    (0..RESOURCES).all(|resource| world.things.of(resource).count() <= 1)
}

fn acknowledged(_: &Protocol, world: &World) -> bool {
    // Damage is another rule's.
    world
        .bucket
        .read()
        .is_ok_and(|read| read.entries.contain(world.acknowledged))
        || world.bucket.read().is_err()
}

fn chain(_: &Protocol, world: &World) -> bool {
    !world.damaged && world.bucket.read().is_ok()
}

fn previous(_: &Protocol, world: &World) -> bool {
    let read = world.bucket.replay(&world.bucket.previous.snapshot);
    read.is_ok_and(|read| read.entries.contain(world.acknowledged))
}

fn nothing_behind(_: &Protocol, world: &World) -> bool {
    let holder = world
        .holder()
        .filter(|holder| holder.open && (holder.took_over || holder.begun));
    holder.is_none_or(|holder| {
        world.bucket.read().is_err() || holder.entries.contain(world.bucket.read().unwrap().entries)
    })
}

fn behind(_: &Protocol, world: &World) -> bool {
    let Ok(read) = world.bucket.read() else {
        return true;
    };
    read.entries.begun.of(1).count() == 0 || read.entries.done.of(0).count() > 0
}

fn intent(_: &Protocol, world: &World) -> bool {
    let Ok(read) = world.bucket.read() else {
        return true;
    };
    let open = read.entries.open();
    world.calls.iter().all(|(token, _)| open.contains(*token))
}

fn undisturbed(_: &Protocol, world: &World) -> bool {
    world.holder().is_none_or(|holder| !holder.stopped)
}

fn known(_: &Protocol, world: &World) -> bool {
    let Ok(read) = world.bucket.replay(&world.bucket.previous.snapshot) else {
        return true;
    };
    read.entries.contain(world.bucket.state.snapshot.entries)
}

fn complete(protocol: &Protocol, world: &World) -> bool {
    let entries = world.bucket.state.snapshot.entries;
    !world.bucket.lease.held
        && world.bucket.state.tag > 1
        && (0..protocol.script.resources).all(|resource| entries.done.of(resource).count() > 0)
}
