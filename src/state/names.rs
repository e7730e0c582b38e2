//! What the files of a stack are called.

use super::location::Location;
use super::store::HISTORY;

/// Where a stack notes with whom it has left marks.
pub(super) const PRODUCERS: &str = "producers";

/// The folder of a stack.
pub(super) fn folder(location: &Location) -> String {
    let Location {
        world,
        project,
        stack,
    } = location;
    format!("{}/{}/{}", encode(world), encode(project), encode(stack))
}

/// The stack whose state file this is.
pub(super) fn location(state_file: &str) -> Option<Location> {
    let mut parts = state_file.split('/');
    let (world, project, stack) = (parts.next()?, parts.next()?, parts.next()?);
    match (parts.next()?, parts.next()) {
        ("state" | "state.previous", None) => {
            Some(Location::new(&decode(world)?, &decode(project)?, &decode(stack)?))
        }
        _ => None,
    }
}

/// The folder of a project in a world.
pub(super) fn project(of: &Location) -> String {
    format!("{}/{}", encode(&of.world), encode(&of.project))
}

/// A file beside the stacks of a project.
pub(super) fn beside(of: &Location, name: &str) -> String {
    format!("{}/{name}", project(of))
}

/// The stack that a file belongs to.
pub(super) fn stack_of(file: &str) -> Option<Location> {
    let mut parts = file.split('/');
    let (world, project, stack) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next()?;
    Some(Location::new(&decode(world)?, &decode(project)?, &decode(stack)?))
}

/// True of a segment of a journal.
pub(super) fn is_segment(file: &str) -> bool {
    file.split('/').nth(3) == Some("journal")
}

/// One file of a stack.
pub(super) fn file(location: &Location, name: &str) -> String {
    format!("{}/{name}", folder(location))
}

/// A segment of a journal.
pub(super) fn segment(location: &Location, number: u64) -> String {
    format!("{}/journal/{number:010}", folder(location))
}

/// The number of a segment.
pub(super) fn number(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.parse().ok()
}

/// What says that `consumer` has left a mark with `producer`.
pub(super) fn producer(consumer: &Location, producer: &Location) -> String {
    let Location { project, stack, .. } = producer;
    format!(
        "{}/{PRODUCERS}/{}.{}",
        folder(consumer),
        encode(project),
        encode(stack)
    )
}

/// The stack that such a file speaks of.
pub(super) fn producer_of(file: &str) -> Option<Location> {
    let (folder, name) = file.rsplit_once('/')?;
    let (project, stack) = name.split_once('.')?;
    let (world, _) = folder.split_once('/')?;
    Some(Location::new(&decode(world)?, &decode(project)?, &decode(stack)?))
}

/// A run in the history. One that changed nothing has no number of its own: it has that of the state it found, and its time.
pub(super) fn run(location: &Location, (serial, idle): RunName) -> String {
    let time = idle.map(|at| format!("-{at:013}")).unwrap_or_default();
    format!("{}/{serial:010}{time}", file(location, HISTORY))
}

/// What a run in the history is called: the serial, and of one that changed nothing when it began, in milliseconds, or the next
/// free number after that.
pub(super) type RunName = (u64, Option<u64>);

/// What the file of a run in the history is called.
pub(super) fn run_name(name: &str) -> Option<RunName> {
    let name = name.rsplit('/').next()?;
    match name.split_once('-') {
        None => Some((name.parse().ok()?, None)),
        Some((serial, at)) => Some((serial.parse().ok()?, Some(at.parse().ok()?))),
    }
}

/// The marker of a consumer.
pub(super) fn consumer(producer: &Location, consumer: &Location) -> String {
    let Location { project, stack, .. } = consumer;
    format!(
        "{}/consumers/{}.{}",
        folder(producer),
        encode(project),
        encode(stack)
    )
}

/// Any text as a name that every file system takes and tells from every other: small letters, digits, `-` and `_` stand for
/// themselves, every other byte is `%` and two digits. Names that Windows reserves get their first letter so.
fn encode(text: &str) -> String {
    let reserved = matches!(text, "con" | "prn" | "aux" | "nul")
        || ["com", "lpt"].iter().any(|p| {
            text.strip_prefix(p)
                .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
        });
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if plain && !(reserved && at == 0) {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.push_str(&super::keys::cipher::hex(&[byte]));
        }
    }
    name
}

fn decode(name: &str) -> Option<String> {
    if name == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        if *first == b'%' {
            let (digits, more) = more.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = more;
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_where_they_can_be() {
        let folder = |world, stack| folder(&Location::new(world, "healthmapidha", stack));
        assert_eq!(folder("sandbox:dev", "prod"), "sandbox%3adev/healthmapidha/prod");
        assert_eq!(
            folder("aws/123456789012", ".."),
            "aws%2f123456789012/healthmapidha/%2e%2e"
        );
        assert_eq!(folder("cloud", "Prod"), "cloud/healthmapidha/%50rod");
        assert_eq!(folder("cloud", "nul"), "cloud/healthmapidha/%6eul");
        assert_eq!(folder("cloud", ""), "cloud/healthmapidha/%");
    }

    proptest! {
        #[test]
        fn every_location_has_a_portable_name_of_its_own(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}") {
            let place = Location::new(&a, &b, &c);
            let name = file(&place, "state");
            prop_assert_eq!(location(&name), Some(place.clone()));
            prop_assert_eq!(producer_of(&producer(&place, &place)), Some(place));
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_%/".contains(&b)));
            prop_assert!(!name.split('/').any(str::is_empty));
        }
    }
}
