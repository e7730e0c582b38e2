//! Deterministic ids: a seed and a counter instead of randomness.

use serde::{Deserialize, Serialize};

/// A source of ids. Only mutating calls may draw from it, so that a replay draws the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ids {
    seed: u64,
    drawn: u64,
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl Ids {
    /// A source that starts at `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next 64 bits (SplitMix64, Steele, Lea and Flood 2014).
    pub(crate) fn next(&mut self) -> u64 {
        self.drawn += 1;
        splitmix(
            self.seed
                .wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }

    /// `prefix` and `digits` lower-case hexadecimal digits: `hex("vpc-", 17)`.
    pub(crate) fn hex(&mut self, prefix: &str, digits: usize) -> String {
        self.spell(prefix, digits, HEX)
    }

    /// `prefix` and `letters` upper-case base-32 characters: `base32("AROA", 17)`.
    pub(crate) fn base32(&mut self, prefix: &str, letters: usize) -> String {
        self.spell(prefix, letters, BASE32)
    }

    /// A UUID of version 4's shape.
    pub(crate) fn uuid(&mut self) -> String {
        let hex = self.hex("", 31);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 15),
            part(15, 18),
            part(18, 30)
        )
    }

    fn spell(&mut self, prefix: &str, length: usize, alphabet: &[u8]) -> String {
        let mut text = prefix.to_owned();
        let mut bits = 0;
        for place in 0..length {
            if place % 12 == 0 {
                bits = self.next();
            }
            let letter = usize::try_from(bits).unwrap_or_default() % alphabet.len();
            text.extend(alphabet.get(letter).map(|byte| char::from(*byte)));
            bits >>= 5;
        }
        text
    }
}

/// Spreads the bits of a counter.
pub(crate) fn splitmix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_ids_and_no_two_alike() {
        let (mut one, mut two) = (Ids::new(7), Ids::new(7));
        let ids: Vec<_> = (0..1000).map(|_| one.hex("vpc-", 17)).collect();
        assert_eq!(ids, (0..1000).map(|_| two.hex("vpc-", 17)).collect::<Vec<_>>());
        assert!(ids.iter().all(|id| id.len() == 21));
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 1000);
        assert_eq!(one.uuid().len(), 36);
        assert_ne!(Ids::new(8).hex("", 17), Ids::new(7).hex("", 17));
    }
}
