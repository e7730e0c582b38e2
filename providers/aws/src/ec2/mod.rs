//! EC2: the narrow client of this crate, and the kinds of networks, one file each.
//!
//! A create puts the operation's token into a tag (or, for NAT gateways and route tables, also into the client token),
//! so that a lost answer can be found. What a kind has beside its first request is settled from what is there, so an
//! update may be repeated and finishes what a create began.

mod client;
mod describe;
mod eip;
mod internet_gateway;
mod nat_gateway;
mod route_table;
mod security_group;
mod security_group_rules;
mod subnet;
mod vpc;
mod zones;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use epid_provider::{Durations, Field, KindSchema, Object, Path, Problem, Type, Value};

pub(crate) use client::Client;

use crate::inputs::text;
use crate::kind::{ResourceKind, named};

/// Every kind of this module.
pub(crate) fn kinds() -> Vec<Box<dyn ResourceKind>> {
    vec![
        Box::new(zones::AvailabilityZones),
        Box::new(eip::Eip),
        Box::new(internet_gateway::InternetGateway),
        Box::new(nat_gateway::NatGateway),
        Box::new(route_table::RouteTable),
        Box::new(security_group::SecurityGroup),
        Box::new(subnet::Subnet),
        Box::new(vpc::Vpc),
    ]
}

/// The field `tags`.
fn tags_field() -> Field {
    Field::new("tags", Type::map(Type::String)).doc("tags; those of `defaultTags` lie beneath them")
}

/// A schema of quick operations: `seconds` each, and up to 20 minutes for a delete, which waits for what lingers.
fn shared_schema(kind: &'static str, doc: &str, inputs: Object, seconds: u64) -> KindSchema {
    let each = Duration::from_secs(seconds);
    let mut schema = KindSchema::new(named(kind), doc, inputs);
    schema.expected = Durations {
        create: each,
        update: each,
        delete: each,
    };
    schema.timeouts = Durations {
        create: Duration::from_secs(300),
        update: Duration::from_secs(300),
        delete: Duration::from_secs(1_200),
    };
    schema
}

/// What is wrong with the IPv4 range at `key`; unknown values pass.
///
/// EC2 would store `10.0.0.7/16` as `10.0.0.0/16`, and every later comparison would differ.
fn block_problem(properties: &Value, key: &str, sizes: RangeInclusive<u8>) -> Option<Problem> {
    let problem = block_fault(text(properties, key)?, &sizes)?;
    Some(problem.at(Path::root().key(key)))
}

/// What is wrong with a range, before it is known where it stands.
struct BlockFault {
    message: String,
    hint: Option<String>,
}

impl BlockFault {
    fn at(self, path: Path) -> Problem {
        let problem = Problem::new(path, self.message);
        match self.hint {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        }
    }
}

fn block_fault(block: &str, sizes: &RangeInclusive<u8>) -> Option<BlockFault> {
    let fault = |message: String, hint: Option<String>| Some(BlockFault { message, hint });
    let parsed = block
        .split_once('/')
        .and_then(|(address, bits)| Some((address.parse::<Ipv4Addr>().ok()?, bits.parse::<u8>().ok()?)));
    let Some((address, bits)) = parsed.filter(|(_, bits)| *bits <= 32) else {
        return fault(
            format!("`{block}` is not an IPv4 range"),
            Some("it is written 10.0.0.0/16".to_owned()),
        );
    };
    if !sizes.contains(&bits) {
        let (largest, smallest) = (sizes.start(), sizes.end());
        return fault(
            format!("`{block}` is not between /{largest} and /{smallest}"),
            None,
        );
    }
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
    let start = Ipv4Addr::from(u32::from(address) & mask);
    if start != address || block != format!("{start}/{bits}") {
        let hint = format!("did you mean `{start}/{bits}`?");
        return fault(format!("`{block}` is not the start of a range"), Some(hint));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_checked_as_ec2_stores_them() {
        let of = |block: &str| {
            let properties = Value::map([("cidrBlock", Value::str(block))]);
            block_problem(&properties, "cidrBlock", 16..=28).map(|p| (p.message, p.hint.unwrap_or_default()))
        };
        assert_eq!(of("10.0.0.0/16"), None);
        assert_eq!(of("10.0.0.7/16").unwrap().1, "did you mean `10.0.0.0/16`?");
        assert!(of("10.0.0.0/8").unwrap().0.contains("between /16 and /28"));
        for wrong in ["10.0.0.0", "10.0.0/16", "10.0.0.0/33", "10.0.0.0/016", "::/0", ""] {
            assert!(of(wrong).is_some(), "{wrong}");
        }
        let unknown = Value::map([("cidrBlock", Value::unknown("x"))]);
        assert!(block_problem(&unknown, "cidrBlock", 16..=28).is_none());
    }

    proptest! {
        #[test]
        fn a_suggested_range_is_right(address: [u8; 4], bits in 0_u8..=32) {
            let block = format!("{}/{bits}", Ipv4Addr::from(address));
            if let Some(fault) = block_fault(&block, &(0..=32)) {
                let hint = fault.hint.unwrap();
                let better = hint.split('`').nth(1).unwrap();
                prop_assert!(block_fault(better, &(0..=32)).is_none(), "{}", hint);
            }
        }
    }
}
