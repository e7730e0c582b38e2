//! `epid:aws:Network`.

use epid_provider::{Field, Kind, KindSchema, Path, Problem, Type, Value};

use super::written::{joined, kind, list, map, schema, string, text, within};
use crate::expression::Located;
use crate::program::{Child, Component, Expansion};

/// A VPC with a public and a private subnet in each zone, an internet gateway and a way out for the private ones.
///
/// Subnets carry the role tags by which the load balancer controller finds them
/// (<https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/subnet_discovery/>), and zones in
/// which EKS takes no cluster are left out (EKS user guide, "Subnet requirements and considerations").
#[derive(Debug)]
pub struct Network(KindSchema);

impl Default for Network {
    fn default() -> Self {
        let inputs = [
            string(
                "name",
                "The `Name` tag of everything in it begins with this. Default: the component's name.",
            ),
            string("cidrBlock", "Its addresses, a prefix of /16 to /24.").default("192.168.0.0/16"),
            Field::new("zones", Type::Int)
                .doc("How many availability zones, 2 or 3.")
                .default(2_i64),
            Field::new("natGateways", Type::one_of(&["single", "perZone", "none"]))
                .doc("The way out of private subnets: one gateway, one in each zone, or none.")
                .default("single"),
            Field::new("tags", Type::map(Type::String)).doc("Tags of everything in it."),
        ];
        Self(schema(
            "epid:aws:Network",
            "A VPC with public and private subnets in several zones.",
            inputs,
            &[
                ("vpcId", "The VPC."),
                ("cidrBlock", "Its addresses."),
                ("publicSubnetIds", "Subnets with a route to the internet gateway."),
                ("privateSubnetIds", "Subnets with a route out through NAT."),
                ("subnetIds", "All subnets, public ones first."),
                ("zones", "The names of its availability zones."),
            ],
        ))
    }
}

/// What is the same for everything in one network.
struct Making<'x, 'a> {
    x: &'x mut Expansion<'a>,
    name: String,
    tags: Option<Located>,
}

impl Making<'_, '_> {
    fn tags(&self, part: &str, more: &[(&str, &str)]) -> Located {
        let mut base = vec![("Name".to_owned(), text(&format!("{}-{part}", self.name)))];
        base.extend(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), Located::from(*value))),
        );
        joined(base, self.tags.as_ref())
    }

    fn make<const N: usize>(&mut self, name: &str, of: &str, properties: [(&str, Located); N]) -> Child {
        self.x.child(name, kind(of), map(properties))
    }

    fn route(&mut self, name: &str, vpc: &Child, to: Option<(&str, Located)>, subnets: &[&Child]) -> Child {
        let route =
            |(target, id): (&str, Located)| map([("destinationCidrBlock", "0.0.0.0/0".into()), (target, id)]);
        let tags = self.tags(name, &[]);
        self.make(
            name,
            "aws:ec2:RouteTable",
            [
                ("vpcId", vpc.reference("vpcId").into()),
                ("routes", list(to.map(route))),
                (
                    "subnetIds",
                    list(subnets.iter().map(|s| s.reference("subnetId").into())),
                ),
                ("tags", tags),
            ],
        )
    }
}

impl Component for Network {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        let (cidr, count, nat) = match shape(x) {
            Ok(shape) => shape,
            Err(problems) => return problems,
        };
        let name = x.property("name").unwrap_or_else(|| x.address().into());
        let name = within(Some(&name));
        let tags = x.property("tags");
        let mut m = Making { x, name, tags };
        let tagged = m.tags("vpc", &[]);
        let vpc = m.make(
            "vpc",
            "aws:ec2:Vpc",
            [
                ("cidrBlock", cidr.as_str().into()),
                ("enableDnsHostnames", true.into()),
                ("enableDnsSupport", true.into()),
                ("tags", tagged),
            ],
        );
        let zones = m.make("zones", "aws:ec2:AvailabilityZones", [("forEks", true.into())]);
        let tagged = m.tags("internet", &[]);
        let gateway = m.make(
            "internetGateway",
            "aws:ec2:InternetGateway",
            [("vpcId", vpc.reference("vpcId").into()), ("tags", tagged)],
        );
        let subnet = |m: &mut Making<'_, '_>, public: bool, zone: u32| {
            let side = if public { "public" } else { "private" };
            let role = if public {
                "kubernetes.io/role/elb"
            } else {
                "kubernetes.io/role/internal-elb"
            };
            // Eighths, however many zones: another zone later leaves the addresses of the others alone.
            let slot = if public { zone } else { 4 + zone };
            let name = format!("{side}{}", zone + 1);
            let tagged = m.tags(&name, &[(role, "1")]);
            m.make(
                &name,
                "aws:ec2:Subnet",
                [
                    ("vpcId", vpc.reference("vpcId").into()),
                    (
                        "cidrBlock",
                        text(&format!("${{cidrSubnet(\"{cidr}\", 3, {slot})}}")),
                    ),
                    (
                        "availabilityZone",
                        text(&format!("${{`{}`.names[{zone}]}}", zones.address())),
                    ),
                    ("mapPublicIpOnLaunch", public.into()),
                    ("tags", tagged),
                ],
            )
        };
        let public: Vec<Child> = (0..count).map(|zone| subnet(&mut m, true, zone)).collect();
        let private: Vec<Child> = (0..count).map(|zone| subnet(&mut m, false, zone)).collect();
        let out = ("gatewayId", gateway.reference("internetGatewayId").into());
        let routes = m.route(
            "publicRoutes",
            &vpc,
            Some(out),
            &public.iter().collect::<Vec<_>>(),
        );

        let mut gateways = Vec::new();
        let wanted = if nat == "none" {
            0
        } else if nat == "single" {
            1
        } else {
            count
        };
        for (at, subnet) in (1..=wanted).zip(&public) {
            let tagged = m.tags(&format!("nat{at}"), &[]);
            let address = m.make(
                &format!("natAddress{at}"),
                "aws:ec2:Eip",
                [("tags", tagged.clone())],
            );
            let made = m.make(
                &format!("nat{at}"),
                "aws:ec2:NatGateway",
                [
                    ("subnetId", subnet.reference("subnetId").into()),
                    ("allocationId", address.reference("allocationId").into()),
                    ("tags", tagged),
                ],
            );
            // A NAT gateway whose subnet has no way to the internet yet fails with Gateway.NotAttached; an address
            // cannot be released into a VPC whose gateway is gone.
            for child in [&made, &address] {
                if let Some(options) = m.x.options(child) {
                    options.depends_on.push(routes.address().clone());
                }
            }
            gateways.push(made);
        }
        for (at, subnet) in (0_usize..).zip(&private) {
            let gateway = gateways.get(at).or_else(|| gateways.first());
            let to = gateway.map(|g| ("natGatewayId", g.reference("natGatewayId").into()));
            m.route(&format!("privateRoutes{}", at + 1), &vpc, to, &[subnet]);
        }

        let ids = |children: &[Child]| list(children.iter().map(|c| c.reference("subnetId").into()));
        let all: Vec<Child> = public.iter().chain(&private).cloned().collect();
        outputs(
            m.x,
            &vpc,
            (&zones, count),
            (ids(&public), ids(&private), ids(&all)),
            &cidr,
        );
        Vec::new()
    }
}

fn outputs(
    x: &mut Expansion<'_>,
    vpc: &Child,
    (zones, count): (&Child, u32),
    (public, private, all): (Located, Located, Located),
    cidr: &str,
) {
    x.output("vpcId", vpc.reference("vpcId"));
    x.output("cidrBlock", cidr);
    x.output("publicSubnetIds", public);
    x.output("privateSubnetIds", private);
    x.output("subnetIds", all);
    let name = |zone: u32| text(&format!("${{`{}`.names[{zone}]}}", zones.address()));
    x.output("zones", list((0..count).map(name)));
}

/// Addresses, zones and NAT gateways: what decides how many children there are.
fn shape(x: &Expansion<'_>) -> Result<(String, u32, String), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut known = |name: &str| match x.known(name) {
        Ok(value) => value.clone(),
        Err(problem) => {
            problems.push(problem);
            Value::Null
        }
    };
    let cidr = known("cidrBlock").as_str().unwrap_or("192.168.0.0/16").to_owned();
    let zones = known("zones").as_int().unwrap_or(2);
    let nat = known("natGateways").as_str().unwrap_or("single").to_owned();
    if !(2..=3).contains(&zones) {
        problems.push(
            Problem::new(
                Path::root().key("zones"),
                format!("`zones` is {zones}, but may be 2 or 3"),
            )
            .with_hint("EKS wants subnets in at least two zones"),
        );
    }
    let prefix = cidr.split_once('/').and_then(|(address, prefix)| {
        address.parse::<std::net::Ipv4Addr>().ok()?;
        prefix.parse::<u8>().ok()
    });
    if !prefix.is_some_and(|p| (16..=24).contains(&p)) {
        problems.push(
            Problem::new(
                Path::root().key("cidrBlock"),
                format!("`{cidr}` is no IPv4 block with a prefix of /16 to /24"),
            )
            .with_hint("for example \"192.168.0.0/16\""),
        );
    }
    if problems.is_empty() {
        Ok((cidr, u32::try_from(zones).unwrap_or(2), nat))
    } else {
        Err(problems)
    }
}
