//! Blocks of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::functions::Fault;

/// A block of addresses: `10.0.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    /// The first address as a number.
    first: u128,
    /// How many bits are fixed.
    prefix: u32,
    /// How many bits an address has: 32 or 128.
    width: u32,
}

impl Block {
    fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            Fault::new("not a block of addresses")
                .showing(format!("`{text}`"))
                .hint("such as `10.0.0.0/16`")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (first, width) = match address {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
            IpAddr::V6(ip) => (u128::from(ip), 128),
        };
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let prefix: u32 = prefix.parse().ok().filter(|p| *p <= width).ok_or_else(wrong)?;
        let block = Self { first, prefix, width };
        let start = first & !block.host_mask();
        if start == first {
            Ok(block)
        } else {
            let begins = Self {
                first: start,
                ..block
            };
            Err(Fault::new("the address is not the first of its block")
                .showing(format!("`{text}`"))
                .hint(format!("the block is `{}`", begins.text())))
        }
    }

    /// The bits that are not fixed.
    fn host_mask(&self) -> u128 {
        match self.width - self.prefix {
            128 => u128::MAX,
            bits => (1_u128 << bits) - 1,
        }
    }

    fn address(&self, offset: u128) -> String {
        let number = self.first.wrapping_add(offset);
        match (self.width, u32::try_from(number)) {
            (32, Ok(number)) => Ipv4Addr::from(number).to_string(),
            _ => Ipv6Addr::from(number).to_string(),
        }
    }

    fn text(&self) -> String {
        format!("{}/{}", self.address(0), self.prefix)
    }
}

/// The part of number `n`, from 0, where `base` is cut into parts whose prefix is `new_bits` longer.
pub(super) fn subnet(base: &str, new_bits: i64, n: i64) -> Result<String, Fault> {
    let block = Block::parse(base)?;
    let left = block.width - block.prefix;
    let bits = u32::try_from(new_bits)
        .ok()
        .filter(|bits| *bits <= left)
        .ok_or_else(|| {
            Fault::new("the prefix cannot be longer by so many bits")
                .showing(format!("`{base}` leaves {left}, not {new_bits}"))
        })?;
    let none = || {
        Fault::new("there is no part of that number")
            .showing(format!("{new_bits} bits make {} parts, from 0", parts(bits)))
    };
    let n = u128::try_from(n).map_err(|_| none())?;
    if bits < 128 && n >> bits != 0 {
        return Err(none());
    }
    let offset = n.checked_shl(left - bits).unwrap_or(0);
    Ok(Block {
        first: block.first + offset,
        prefix: block.prefix + bits,
        width: block.width,
    }
    .text())
}

fn parts(bits: u32) -> String {
    1_u128
        .checked_shl(bits)
        .map_or_else(|| "2^128".to_owned(), |parts| parts.to_string())
}

/// The address of number `n` in `base`, from 0; from the end where `n` is negative.
pub(super) fn host(base: &str, n: i64) -> Result<String, Fault> {
    let block = Block::parse(base)?;
    let mask = block.host_mask();
    let offset = if n < 0 {
        mask.checked_sub(u128::from(n.unsigned_abs()) - 1)
    } else {
        Some(u128::from(n.unsigned_abs())).filter(|n| *n <= mask)
    };
    offset
        .map(|offset| block.address(offset))
        .ok_or_else(|| Fault::new("there is no address of that number").showing(format!("{n} in `{base}`")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(result: Result<String, Fault>) -> String {
        let fault = result.unwrap_err();
        format!(
            "{}: {} ({})",
            fault.message,
            fault.shown.unwrap_or_default(),
            fault.hint.unwrap_or_default()
        )
    }

    #[test]
    fn blocks_are_cut() {
        let all = [
            ("10.0.0.0/16", 8, 3),
            ("192.168.0.0/16", 3, 5),
            ("fd00::/56", 8, 255),
            ("0.0.0.0/0", 32, 7),
            ("::/0", 0, 0),
        ];
        let made: Vec<String> = all.map(|(base, bits, n)| subnet(base, bits, n).unwrap()).into();
        assert_eq!(
            made,
            [
                "10.0.3.0/24",
                "192.168.160.0/19",
                "fd00:0:0:ff::/64",
                "0.0.0.7/32",
                "::/0"
            ]
        );
    }

    #[test]
    fn addresses_count_from_both_ends() {
        assert_eq!(host("10.0.3.0/24", 5).unwrap(), "10.0.3.5");
        assert_eq!(host("10.0.3.0/24", -1).unwrap(), "10.0.3.255");
        assert_eq!(
            host("::/0", -1).unwrap(),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        );
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert_eq!(
            message(subnet("10.0.0.0/16", 2, 4)),
            "there is no part of that number: 2 bits make 4 parts, from 0 ()"
        );
        assert_eq!(
            message(subnet("10.0.0.0/24", 9, 0)),
            "the prefix cannot be longer by so many bits: `10.0.0.0/24` leaves 8, not 9 ()"
        );
        assert_eq!(
            message(host("10.0.1.5/16", 0)),
            "the address is not the first of its block: `10.0.1.5/16` (the block is `10.0.0.0/16`)"
        );
        assert!(host("10.0.0.0/30", 4).is_err() && host("10.0.0.0/30", -5).is_err());
        for base in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/+8", "x/8"] {
            assert!(host(base, 0).is_err(), "{base}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(base in "[0-9a-f:.]{0,20}/[0-9]{1,3}", bits in any::<i64>(), n in any::<i64>()) {
            drop((subnet(&base, bits, n), host(&base, n)));
        }

        #[test]
        fn parts_do_not_overlap(bits in 1_i64..8, a in 0_i64..128, b in 0_i64..128) {
            let (a, b) = (a % (1 << bits), b % (1 << bits));
            let same = subnet("10.0.0.0/16", bits, a).unwrap() == subnet("10.0.0.0/16", bits, b).unwrap();
            prop_assert_eq!(same, a == b);
        }
    }
}
