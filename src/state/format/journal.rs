//! The journal: segments, each begun by one session, of frames, each made durable as one.
//!
//! A segment is two lines in clear (a JSON head, its checksum) and frames. A frame is a head of 32 bytes (length of what is
//! sealed, number in the segment, the checksum of the frame before, a checksum of this head), the sealed lines, and a checksum
//! of all that. The head's own checksum tells a frame that was never finished from one whose length was changed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Damage;
use crate::state::keys::cipher::{OVERHEAD, SALT, SecretKey, fingerprint, hex};
use crate::state::snapshot::FORMAT;

const KIND: &str = "journal";
const PURPOSE: &str = "epid journal 1";
const HEAD: usize = 32;
const CHECKSUM: usize = 16;
/// The longest sealed text of a frame.
const LONGEST: usize = 256 * 1024 * 1024;
/// The clear text after which a frame takes no more entries.
pub(in crate::state) const FULL: usize = 8 * 1024 * 1024;
/// The longest head of a segment.
const LONGEST_HEAD: usize = 64 * 1024;

/// What a disk writes at once or not at all, in bytes.
const SECTOR: usize = 512;
/// So many zeros do not stand in a frame by chance.
const HOLE: usize = 8;
/// How far the number of a frame may be ahead to be taken for one.
const MOST_AFTER: u64 = 1 << 20;

/// The checksum of a frame, or of a segment's head: what comes next carries it.
pub(in crate::state) type Chain = [u8; 16];

/// A place between two frames.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct Position {
    /// The segment; 0 before the first.
    pub segment: u64,
    /// Its bytes up to here.
    pub length: u64,
    /// The checksum of the frame before, in hexadecimal digits.
    pub chain: String,
}

/// The head of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct SegmentHead {
    epid: String,
    format: u32,
    /// The lineage of the state.
    pub lineage: Arc<str>,
    /// The number of the segment, from 1, without gaps.
    pub segment: u64,
    /// The number of the session that began it: a later session's is greater.
    pub epoch: u64,
    /// Where the journal stood: what the segment before holds beyond that was never finished.
    pub after: Position,
    salt: String,
}

/// The writing end of a segment.
#[derive(Debug)]
pub(in crate::state) struct Writer {
    key: SecretKey,
    segment: u64,
    number: u64,
    chain: Chain,
    length: u64,
}

/// Begins a segment: its first bytes, and what writes the rest.
pub(in crate::state) fn begin(
    lineage: &Arc<str>,
    segment: u64,
    epoch: u64,
    after: &Position,
    key: &SecretKey,
    salt: [u8; SALT],
) -> (Vec<u8>, Writer) {
    let head = SegmentHead {
        epid: KIND.to_owned(),
        format: FORMAT,
        lineage: lineage.clone(),
        segment,
        epoch,
        after: after.clone(),
        salt: hex(&salt),
    };
    // Texts and numbers only: this has no way to fail.
    let line = serde_json::to_string(&head).unwrap_or_default();
    let chain = fingerprint(&[line.as_bytes()]);
    let bytes = format!("{line}\n{}\n", hex(&chain)).into_bytes();
    let writer = Writer {
        key: key.derive(PURPOSE, &salt),
        segment,
        number: 0,
        chain,
        length: bytes.len() as u64,
    };
    (bytes, writer)
}

impl Writer {
    /// The next frame. No number comes twice with one key: each segment has its own.
    pub(in crate::state) fn frame(&mut self, clear: Vec<u8>) -> Result<Vec<u8>, usize> {
        let length = clear.len() + OVERHEAD - SALT;
        let (true, Ok(sealed_length)) = (length <= LONGEST, u32::try_from(length)) else {
            return Err(clear.len());
        };
        let mut frame = Vec::with_capacity(HEAD + length + CHECKSUM);
        frame.extend_from_slice(&sealed_length.to_le_bytes());
        frame.extend_from_slice(&self.number.to_le_bytes());
        frame.extend_from_slice(&self.chain);
        frame.extend_from_slice(&fingerprint(&[&frame])[..4]);
        let sealed = self.key.seal_numbered(self.number, &frame, clear);
        frame.extend_from_slice(&sealed);
        self.chain = fingerprint(&[&frame]);
        frame.extend_from_slice(&self.chain);
        self.number += 1;
        self.length += frame.len() as u64;
        Ok(frame)
    }

    /// Where the segment ends.
    pub(in crate::state) fn position(&self) -> Position {
        Position {
            segment: self.segment,
            length: self.length,
            chain: hex(&self.chain),
        }
    }
}

/// The head of a segment, and where its frames begin.
pub(in crate::state) fn head(bytes: &[u8]) -> Result<(SegmentHead, usize), Damage> {
    #[derive(Deserialize)]
    struct Version {
        epid: String,
        format: u32,
    }
    let line_end = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter()
            .take(LONGEST_HEAD)
            .position(|b| *b == b'\n')
            .map(|end| from + end)
    };
    let cut = || {
        Damage::at(
            bytes.len().min(LONGEST_HEAD),
            "it ends within its first two lines",
        )
    };
    let end = line_end(0).ok_or_else(cut)?;
    let line = &bytes[..end];
    let unreadable =
        |e: serde_json::Error| Damage::at(e.column(), format!("its first line cannot be read: {e}"));
    let version: Version = serde_json::from_slice(line).map_err(unreadable)?;
    if version.epid != KIND {
        return Err(Damage::at(
            0,
            format!("it is a file of kind `{}`, not a journal", version.epid),
        ));
    }
    if version.format > FORMAT {
        return Err(Damage::Newer(version.format));
    }
    let second = line_end(end + 1).ok_or_else(cut)?;
    if hex(&fingerprint(&[line])).as_bytes() != &bytes[end + 1..second] {
        return Err(Damage::at(0, "the checksum of its first line is wrong"));
    }
    Ok((serde_json::from_slice(line).map_err(unreadable)?, second + 1))
}

/// Reads the frames of a segment in order, of at most `limit` bytes of it; what is cut off at the end is dropped where `last`.
/// Tells where the last whole frame ends.
pub(in crate::state) fn read(
    bytes: &[u8],
    key: &SecretKey,
    limit: Option<u64>,
    mut each: impl FnMut(usize, &[u8]) -> Result<(), Damage>,
) -> Result<Position, Damage> {
    let (segment, mut at) = head(bytes)?;
    let bytes = match limit.map(usize::try_from) {
        Some(Ok(limit)) if limit <= bytes.len() => &bytes[..limit],
        None => bytes,
        _ => {
            return Err(Damage::at(
                bytes.len(),
                "it is shorter than the segment after it says",
            ));
        }
    };
    let salt = unhex(&segment.salt).ok_or_else(|| Damage::at(0, "its salt cannot be read"))?;
    let key = key.derive(PURPOSE, &salt);
    let mut chain = fingerprint(&[bytes.split(|b| *b == b'\n').next().unwrap_or_default()]);
    let mut number = 0;
    while let Some(frame) = next(bytes, at, number, &chain)? {
        let clear = key
            .open_numbered(number, frame.head, frame.sealed.to_vec())
            .map_err(|_| {
                Damage::at(
                    at,
                    format!("frame {number} was not sealed with the key of the state"),
                )
            })?;
        each(at, &clear)?;
        chain = frame.chain;
        number += 1;
        at = frame.end;
    }
    if limit.is_some() && at != bytes.len() {
        return Err(Damage::at(at, "it does not end where the segment after it says"));
    }
    Ok(Position {
        segment: segment.segment,
        length: at as u64,
        chain: hex(&chain),
    })
}

struct Frame<'a> {
    head: &'a [u8],
    sealed: &'a [u8],
    chain: Chain,
    end: usize,
}

/// The frame at `at`; `None` at the end, and where the rest is a frame that was never finished: it is cut off, or sectors of it
/// were not written. Each frame is synced before the next is written, so no other follows it then.
fn next<'a>(bytes: &'a [u8], at: usize, number: u64, chain: &Chain) -> Result<Option<Frame<'a>>, Damage> {
    let rest = bytes.get(at..).unwrap_or_default();
    // A file may have grown before its bytes came: zeros are a frame that was never written.
    let Some((head, body)) = rest
        .split_at_checked(HEAD)
        .filter(|_| rest.iter().any(|b| *b != 0))
    else {
        return Ok(None);
    };
    if !is_head(head) {
        let was_not_written = lacks_beginning(bytes, at, number, chain)
            || has_hole(bytes, at) && !is_followed(&rest[1..], number);
        return if was_not_written {
            Ok(None)
        } else {
            Err(Damage::at(at, format!("the head of frame {number} was changed")))
        };
    }
    let found = number_of(head);
    if found != number {
        return Err(Damage::at(
            at,
            format!("frame {found} stands where frame {number} belongs"),
        ));
    }
    if head[12..28] != chain[..] {
        return Err(Damage::at(
            at,
            format!("frame {number} does not follow the frame before it"),
        ));
    }
    let length = usize::try_from(little_endian(&head[..4])).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(Damage::at(at, format!("frame {number} claims {length} bytes")));
    }
    let (Some(sealed), Some(checksum)) = (body.get(..length), body.get(length..length + CHECKSUM)) else {
        return Ok(None);
    };
    let end = HEAD + length;
    let own = fingerprint(&[&rest[..end]]);
    let is_last = rest.len() == end + CHECKSUM;
    let was_not_written = rest[end..].iter().all(|b| *b == 0)
        || is_last && (has_hole(bytes, at) || lacks_end(bytes.len(), checksum, &own));
    if own != checksum && was_not_written {
        return Ok(None);
    }
    if own != checksum {
        return Err(Damage::at(at, format!("frame {number} was changed")));
    }
    Ok(Some(Frame {
        head,
        sealed,
        chain: own,
        end: at + end + CHECKSUM,
    }))
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b))
}

fn number_of(head: &[u8]) -> u64 {
    little_endian(&head[4..12])
}

/// True where the checksum of a frame's head is right.
fn is_head(head: &[u8]) -> bool {
    fingerprint(&[&head[..28]])[..4] == head[28..HEAD]
}

/// True where what begins at `at` has a sector of zeros, as a disk leaves one that wrote a part of an append and not this one.
/// No frame has one of its own.
fn has_hole(bytes: &[u8], at: usize) -> bool {
    let mut from = at;
    while from < bytes.len() {
        let end = (from + 1).next_multiple_of(SECTOR).min(bytes.len());
        if end - from >= HOLE && bytes[from..end].iter().all(|b| *b == 0) {
            return true;
        }
        from = end;
    }
    false
}

/// True where all that is missing of the last frame is its first bytes, which are too few to tell by themselves: with what
/// they must have been, the head is whole.
fn lacks_beginning(bytes: &[u8], at: usize, number: u64, chain: &Chain) -> bool {
    let rest = &bytes[at..];
    let missing = SECTOR - at % SECTOR;
    let length = rest.len().checked_sub(HEAD + CHECKSUM).map(u32::try_from);
    let (true, Some(Ok(length))) = (missing < HOLE, length) else {
        return false;
    };
    let mut head = rest[..HEAD].to_vec();
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..12].copy_from_slice(&number.to_le_bytes());
    head[12..28].copy_from_slice(chain);
    rest[..missing].iter().all(|b| *b == 0) && is_head(&head)
}

/// True where all that is missing of the last frame is its last bytes, which are too few to tell by themselves: the rest of its
/// checksum is right.
fn lacks_end(length: usize, checksum: &[u8], own: &[u8]) -> bool {
    let missing = length % SECTOR;
    let (there, zeros) = checksum.split_at(CHECKSUM - missing.min(HOLE - 1));
    missing < HOLE && zeros.iter().all(|b| *b == 0) && own[..there.len()] == *there
}

/// True where the head of a frame after `number` is found in `bytes`: what is before it was written once.
fn is_followed(bytes: &[u8], number: u64) -> bool {
    bytes.windows(HEAD).any(|head| {
        let distance = number_of(head).saturating_sub(number);
        (1..=MOST_AFTER).contains(&distance) && is_head(head)
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|n| u8::try_from(n).ok());
    (digits.len() == 2 * SALT).then_some(())?;
    digits
        .chunks(2)
        .map(|pair| Some((nibble(pair[0])? << 4) | nibble(pair[1])?))
        .collect()
}
