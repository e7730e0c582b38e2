//! What an id says of the kind it is of.

use epid_provider::{Failure, Kind};

/// Prefixes of ids that EC2 gives (Amazon EC2 user guide, "Resource IDs").
const PREFIXES: [(&str, &str); 7] = [
    ("eipalloc-", "aws:ec2:Eip"),
    ("igw-", "aws:ec2:InternetGateway"),
    ("nat-", "aws:ec2:NatGateway"),
    ("rtb-", "aws:ec2:RouteTable"),
    ("sg-", "aws:ec2:SecurityGroup"),
    ("subnet-", "aws:ec2:Subnet"),
    ("vpc-", "aws:ec2:Vpc"),
];
/// The kinds whose id is an ARN; all others have names or ids of EC2.
const ARNS: [&str; 2] = ["aws:iam:OpenIdConnectProvider", "aws:iam:Policy"];

/// Why an id cannot be one of that kind, where its spelling tells.
pub(crate) fn misfit(kind: &Kind, id: &str) -> Option<Failure> {
    let arn = id.starts_with("arn:");
    if arn != ARNS.contains(&kind.as_str()) {
        let short = id.rsplit('/').next().unwrap_or(id);
        let message = if arn {
            format!("the id of a {kind} is no ARN")
        } else {
            format!("the id of a {kind} is its ARN")
        };
        let failure = Failure::new("NotAnId", message);
        return Some(if arn && short != id {
            failure.with_hint(format!("it is probably `{short}`"))
        } else {
            failure
        });
    }
    if !kind.as_str().starts_with("aws:ec2:") {
        return None;
    }
    let (_, of) = PREFIXES.iter().find(|(prefix, _)| id.starts_with(prefix))?;
    (*of != kind.as_str()).then(|| {
        Failure::new(
            "OtherKind",
            format_args!("that is the id of a {of}, not of a {kind}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_kind_is_told() {
        let told =
            |kind: &str, id: &str| misfit(&Kind::parse(kind).unwrap(), id).map(|failure| failure.message);
        assert_eq!(told("aws:ec2:Vpc", "vpc-1"), None);
        assert_eq!(told("aws:iam:Role", "sg-1"), None, "a role may be called so");
        assert_eq!(told("aws:iam:Policy", "arn:aws:iam::1:policy/p"), None);
        assert!(
            told("aws:ec2:Vpc", "subnet-1")
                .unwrap()
                .contains("aws:ec2:Subnet")
        );
        assert!(told("aws:iam:Policy", "p").unwrap().contains("its ARN"));
        let role = misfit(
            &Kind::parse("aws:iam:Role").unwrap(),
            "arn:aws:iam::1:role/x/reader",
        )
        .unwrap();
        assert!(role.message.contains("no ARN") && role.hint.unwrap().contains("`reader`"));
    }
}
