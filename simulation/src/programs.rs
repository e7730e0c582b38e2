//! Random programs for the sandbox, and random edits of them.

use std::path::Path;

use fastrand::Rng;

use crate::machine::Failed;

/// What a program declares, as numbers that [`Program::text`] makes something of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Each number is drawn below what [`KNOBS`] says.
    knobs: Vec<u8>,
}

/// How many values each number has.
const KNOBS: &[(&str, u8)] = &[
    ("network", 4),
    ("range", 2),
    ("dns", 2),
    ("subnets", 4),
    ("gateway", 2),
    ("nat", 2),
    ("routes", 2),
    ("group", 4),
    ("groupDescription", 2),
    ("rules", 4),
    ("role", 4),
    ("roleName", 3),
    ("policies", 4),
    ("document", 3),
    ("tags", 3),
    ("cluster", 3),
    ("objects", 4),
    ("content", 3),
    ("workload", 3),
    ("image", 2),
    ("names", 2),
];

impl Program {
    /// Any program.
    #[must_use]
    pub fn any(random: &mut Rng) -> Self {
        let knobs = KNOBS.iter().map(|(_, values)| random.u8(..*values)).collect();
        Self { knobs }
    }

    /// This program after some edits.
    #[must_use]
    pub fn edited(&self, random: &mut Rng) -> Self {
        let mut edited = self.clone();
        for (knob, (_, values)) in edited.knobs.iter_mut().zip(KNOBS) {
            if random.u8(..4) == 0 {
                *knob = random.u8(..*values);
            }
        }
        edited
    }

    fn knob(&self, name: &str) -> u8 {
        let at = KNOBS.iter().position(|(knob, _)| *knob == name);
        at.and_then(|at| self.knobs.get(at)).copied().unwrap_or_default()
    }

    /// The stack file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("[providers.aws]\ntype = \"aws\"\nproperties.region = \"us-east-1\"\n");
        let mut declare = |name: &str, kind: &str, properties: &str, options: &str| {
            text.push_str(&format!(
                "\n[resources.{name}]\ntype = \"{kind}\"\nproperties = {{ {properties} }}\noptions = {{ {options} }}\n"
            ));
        };
        let tags = format!("tags = {{ round = \"{}\" }}", self.knob("tags"));
        if self.knob("network") > 0 {
            self.network(&mut declare, &tags);
        }
        self.access(&mut declare, &tags);
        if self.knob("cluster") > 0 {
            self.workloads(&mut declare);
            text.push_str(
                "\n[providers.cluster]\ntype = \"kubernetes\"\nproperties.cluster = \"${cluster.cluster}\"\n",
            );
        }
        text
    }

    fn network(&self, declare: &mut impl FnMut(&str, &str, &str, &str), tags: &str) {
        let range = self.knob("range");
        // A logical name that changes is another resource.
        let renamed = self.knob("names");
        declare(
            "vpc",
            "aws:ec2:Vpc",
            &format!(
                "cidrBlock = \"10.{range}.0.0/16\", enableDnsSupport = true, enableDnsHostnames = true, {tags}"
            ),
            "",
        );
        let subnets = self.knob("subnets");
        for n in 0..subnets {
            let zone = ['a', 'b'][usize::from(n % 2)];
            declare(
                &format!("subnet{n}"),
                "aws:ec2:Subnet",
                &format!(
                    "vpcId = \"${{vpc.vpcId}}\", cidrBlock = \"10.{range}.{n}.0/24\", availabilityZone = \"us-east-1{zone}\", {tags}"
                ),
                "",
            );
        }
        let gateway = self.knob("gateway") > 0;
        if gateway {
            let vpc = "vpcId = \"${vpc.vpcId}\"";
            declare(
                "gateway",
                "aws:ec2:InternetGateway",
                &format!("{vpc}, {tags}"),
                "",
            );
            if self.knob("routes") > 0 {
                let subnet = if subnets > 0 {
                    "\"${subnet0.subnetId}\""
                } else {
                    ""
                };
                let routes = "routes = [{ destinationCidrBlock = \"0.0.0.0/0\", gatewayId = \"${gateway.internetGatewayId}\" }]";
                let properties = format!("{vpc}, {routes}, subnetIds = [{subnet}]");
                declare(&format!("routes{renamed}"), "aws:ec2:RouteTable", &properties, "");
            }
            if self.knob("nat") > 0 && subnets > 0 {
                declare("address", "aws:ec2:Eip", tags, "");
                let nat = "subnetId = \"${subnet0.subnetId}\", allocationId = \"${address.allocationId}\"";
                declare("nat", "aws:ec2:NatGateway", nat, "dependsOn = [\"gateway\"]");
            }
        }
        if self.knob("group") > 0 {
            let name = match self.knob("group") {
                1 => String::new(),
                n => format!("groupName = \"doors-{n}\", "),
            };
            let rules: Vec<String> = (0..self.knob("rules"))
                .map(|n| {
                    format!(
                        "{{ ipProtocol = \"tcp\", fromPort = {0}, toPort = {0}, cidrIpv4 = \"10.0.0.0/8\" }}",
                        80 + u16::from(n)
                    )
                })
                .collect();
            let properties = format!(
                "vpcId = \"${{vpc.vpcId}}\", {name}description = \"doors {}\", ingress = [{}]",
                self.knob("groupDescription"),
                rules.join(", ")
            );
            declare("group", "aws:ec2:SecurityGroup", &properties, "");
        }
    }

    fn access(&self, declare: &mut impl FnMut(&str, &str, &str, &str), tags: &str) {
        let statement = |action: &str| {
            format!(
                "{{ Version = \"2012-10-17\", Statement = [{{ Effect = \"Allow\", Action = \"{action}\", Resource = \"*\" }}] }}"
            )
        };
        let actions = ["s3:GetObject", "s3:PutObject", "ec2:DescribeVpcs"];
        let document = statement(actions[usize::from(self.knob("document"))]);
        for n in 0..self.knob("policies") {
            let name = if n == 0 { "policyName = \"first\", " } else { "" };
            declare(
                &format!("policy{n}"),
                "aws:iam:Policy",
                &format!("{name}policyDocument = {document}, {tags}"),
                "",
            );
        }
        if self.knob("role") > 0 {
            let name = match self.knob("roleName") {
                0 => String::new(),
                n => format!("roleName = \"reader-{n}\", "),
            };
            let arns: Vec<String> = (0..self.knob("policies"))
                .map(|n| format!("\"${{policy{n}.arn}}\""))
                .collect();
            let trust = "{ Version = \"2012-10-17\", Statement = [{ Effect = \"Allow\", Principal = { Service = \"eks.amazonaws.com\" }, Action = \"sts:AssumeRole\" }] }";
            let inline = if self.knob("role") > 2 {
                format!(", inlinePolicies = {{ own = {document} }}")
            } else {
                String::new()
            };
            let properties = format!(
                "{name}assumeRolePolicyDocument = {trust}, managedPolicyArns = [{}]{inline}, {tags}",
                arns.join(", ")
            );
            declare("role", "aws:iam:Role", &properties, "");
        }
    }

    fn workloads(&self, declare: &mut impl FnMut(&str, &str, &str, &str)) {
        let range = "name = \"rehearsal\", cidrBlock = \"192.168.0.0/16\"";
        declare("network", "epid:aws:Network", range, "");
        let subnets = "subnetIds = \"${network.subnetIds}\", podSubnetIds = \"${network.privateSubnetIds}\"";
        let properties = format!("name = \"rehearsal\", {subnets}");
        declare(
            "cluster",
            "epid:aws:FargateCluster",
            &properties,
            "dependsOn = [\"network\"]",
        );
        let provider = "provider = \"cluster\"";
        for n in 0..self.knob("objects") {
            let name = if self.knob("names") > 0 {
                "settings"
            } else {
                "options"
            };
            let metadata = format!("metadata = {{ name = \"{name}-{n}\", namespace = \"default\" }}");
            declare(
                &format!("settings{n}"),
                "kubernetes:v1:ConfigMap",
                &format!("{metadata}, data = {{ content = \"{}\" }}", self.knob("content")),
                provider,
            );
        }
        if self.knob("workload") > 0 {
            let secrets = if self.knob("workload") > 1 {
                format!(", env = {{ CONTENT = \"{}\" }}", self.knob("content"))
            } else {
                String::new()
            };
            let properties = format!(
                "name = \"web\", image = \"example/web:{}\"{secrets}",
                self.knob("image")
            );
            declare("web", "epid:kubernetes:WebService", &properties, provider);
        }
    }
}

/// Writes a project of one stack, `s`, into a folder.
///
/// # Errors
/// Where the folder cannot be written.
#[expect(clippy::disallowed_methods, reason = "projects are files")]
pub fn write(root: &Path, stack: &str) -> Result<(), Failed> {
    std::fs::write(root.join("Epid.toml"), "name = \"rehearsal\"\n")?;
    std::fs::create_dir_all(root.join("stacks"))?;
    std::fs::write(root.join("stacks/s.toml"), stack)?;
    Ok(())
}
