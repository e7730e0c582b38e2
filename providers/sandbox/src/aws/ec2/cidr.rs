//! IPv4 blocks: what a VPC, a subnet, a route and a rule are made of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 block in canonical form (host bits are zero), written `10.0.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Cidr {
    base: u32,
    length: u8,
}

impl Cidr {
    /// Reads `a.b.c.d/n`; host bits are cleared, as EC2 does with `100.68.0.18/18`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
        Some(Self {
            base: u32::from(address) & mask(length),
            length,
        })
    }

    /// The number of leading bits, 0 to 32.
    pub(crate) fn length(self) -> u8 {
        self.length
    }

    /// The number of addresses in the block.
    pub(crate) fn size(self) -> u64 {
        1 << (32 - u32::from(self.length))
    }

    /// The nth address of the block.
    pub(crate) fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(n))
    }

    /// Whether every address of `other` is in this block.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.length <= other.length && other.base & mask(self.length) == self.base
    }

    /// Whether the two blocks share an address.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.length)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not an IPv4 block such as 10.0.0.0/16"))
    }
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn blocks_are_canonical_and_know_each_other() {
        let vpc = Cidr::parse("10.0.3.7/16").unwrap();
        let subnet = Cidr::parse("10.0.32.0/19").unwrap();
        assert_eq!(vpc.to_string(), "10.0.0.0/16");
        assert!(vpc.contains(subnet) && !subnet.contains(vpc) && subnet.overlaps(vpc));
        assert!(!subnet.overlaps(Cidr::parse("10.0.64.0/19").unwrap()));
        assert_eq!(subnet.nth(4).to_string(), "10.0.32.4");
        assert_eq!(Cidr::parse("0.0.0.0/0").unwrap().size(), 1 << 32);
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", ""] {
            assert!(Cidr::parse(wrong).is_none(), "{wrong}");
        }
    }
}
