use std::time::Duration;

use epid_provider::Value;

use super::{ProgramBuilder, cel, each_key, fields, list};
use crate::expression::{Located, Span, Template};
use crate::program::{Declaration, Program, parse_program};
use crate::text;

/// A program without places, for comparing programs of different origin.
fn placeless(mut program: Program) -> Program {
    fn located(l: &Located) -> Located {
        let template = match &l.template {
            Template::List(items) => Template::List(items.iter().map(located).collect()),
            Template::Map(entries) => {
                Template::Map(entries.iter().map(|(k, l)| (k.clone(), located(l))).collect())
            }
            other => other.clone(),
        };
        Located::built(template)
    }
    let declaration = |d: &mut Declaration| {
        d.properties = located(&d.properties);
        d.for_each = d.for_each.as_ref().map(located);
        d.when = d.when.as_ref().map(located);
        d.options.spans.clear();
        (d.span, d.kind_span) = (Span::NONE, Span::NONE);
    };
    program.providers.iter_mut().for_each(declaration);
    program.resources.iter_mut().for_each(declaration);
    for config in &mut program.config {
        config.span = Span::NONE;
    }
    for output in &mut program.outputs {
        output.value = located(&output.value);
        output.span = Span::NONE;
    }
    program
}

fn agrees(toml: &str, define: impl FnOnce(&ProgramBuilder)) {
    let (program, sources, problems) = parse_program(toml, "program.toml");
    assert!(
        problems.is_empty(),
        "{}",
        crate::program::render(&problems, &sources, false, 100)
    );
    let (built, _, problems) = ProgramBuilder::build(define);
    assert_eq!(problems, []);
    assert_eq!(placeless(built), placeless(program.unwrap()));
}

#[test]
fn the_services_program_is_the_same_in_toml_and_in_rust() {
    let toml = r#"
[config.environment]
type = "string"
[config.curatorVersion]
type = "string"
default = "latest"

[providers.cluster]
type = "kubernetes"
properties.cluster = "${stacks.platform.cluster}"

[resources.curator]
type = "epid:kubernetes:WebService"
[resources.curator.properties]
name = "curator-${config.environment}"
image = "healthmapidha/curatorservice:${config.curatorVersion}"
[resources.curator.options]
provider = "cluster"
protect = false

[outputs]
url = "${curator.url}"
"#;
    agrees(toml, |program| {
        let environment = program.config("environment").string();
        let version = program.config("curatorVersion").default("latest").string();
        let cluster = program
            .provider("cluster", "kubernetes")
            .set("cluster", program.stack("platform").get("cluster"));
        let curator = program
            .resource("curator", "epid:kubernetes:WebService")
            .set("name", text!("curator-{}", environment))
            .set("image", text!("healthmapidha/curatorservice:{}", version))
            .provider(&cluster);
        program.output("url", curator.get("url"));
    });
}

#[test]
fn everything_that_toml_can_say_can_be_said_in_rust() {
    let toml = r#"
[config.password]
type = "string"
secret = true
description = "Of the database."
[config.zones]
type = "list"
default = ["a", "b"]

[resources.net]
type = "aws:ec2:Vpc"
properties.tags = { "a/b" = "x", n = 1, f = 1.5, on = true, list = ["y", "${config.zones[0]}"] }
[resources.subnet]
type = "aws:ec2:Subnet"
forEach = "${config.zones}"
if = 'config.zones[0] == "a"'
properties = { vpcId = "${net.id}", zone = "us-east-1${each.key}", "od\"d" = '${net.tags["a/b"]}', literal = "$${x}" }
[resources.subnet.options]
dependsOn = ["net", "net/x"]
protect = true
retainOnDelete = true
ignoreChanges = ["tags.a"]
replaceOnChanges = ["zone", "containers[web].image"]
deleteBeforeReplace = true
aliases = ["old"]
import = "subnet-1"
adopt = true
deletedWith = "net"
servedBy = ["controller"]
timeouts = { create = "10m", update = "90s", delete = "1h30m" }

[resources.many]
type = "aws:ec2:Vpc"
forEach = ["a", "b"]
options.aliases = { a = "many", b = ["old", 'other["x"]'] }
[resources.whole]
type = "aws:ec2:Vpc"
options.aliases = { left = { service = "x" } }

[outputs]
password = { value = "${config.password}", secret = true, description = "It." }
"#;
    agrees(toml, |program| {
        let password = program
            .config("password")
            .secret()
            .describe("Of the database.")
            .string();
        let zones = program
            .config("zones")
            .default(Value::list([Value::str("a"), Value::str("b")]))
            .list();
        let tags = fields()
            .set("a/b", "x")
            .set("n", 1)
            .set("f", 1.5)
            .set("on", true)
            .set("list", list([super::Input::from("y"), zones.index(0).into()]));
        let net = program.resource("net", "aws:ec2:Vpc").set("tags", tags);
        program.when(zones.index(0).equals("a"), |program| {
            program
                .resource("subnet", "aws:ec2:Subnet")
                .set("vpcId", net.get("id"))
                .set("zone", text!("us-east-1{}", each_key()))
                .set("od\"d", net.get("tags").get("a/b"))
                .set("literal", "${x}")
                .for_each(&zones)
                .depends_on(&net)
                .depends_on("net/x")
                .protect()
                .retain_on_delete()
                .ignore_changes("tags.a")
                .replace_on_changes("zone")
                .replace_on_changes("containers[web].image")
                .delete_before_replace(true)
                .alias("old")
                .import("subnet-1")
                .adopt()
                .deleted_with(&net)
                .served_by("controller")
                .create_timeout(Duration::from_secs(600))
                .update_timeout(Duration::from_secs(90))
                .delete_timeout(Duration::from_secs(5400));
        });
        program
            .resource("many", "aws:ec2:Vpc")
            .for_each(["a", "b"])
            .part_alias(&["a"], "many")
            .part_alias(&["b"], "old")
            .part_alias(&["b"], "other[\"x\"]");
        program
            .resource("whole", "aws:ec2:Vpc")
            .part_alias(&["left", "service"], "x");
        program.output("password", &password).secret().describe("It.");
    });
}

#[test]
fn everything_knows_its_line() {
    let before = line!();
    let (program, sources, _) = ProgramBuilder::build(|program| {
        program
            .resource("net", "aws:ec2:Vpc")
            .set("cidrBlock", "10.0.0.0/16")
            .protect();
    });
    let net = &program.resources[0];
    let line = |span| sources.line_column(span).unwrap().0 - before;
    assert_eq!(line(net.span), 3);
    assert_eq!(
        line(net.properties.template.get("cidrBlock").unwrap().key_span),
        4
    );
    assert_eq!(line(net.options.span("protect")), 5);
    assert!(sources.place(net.span).unwrap().starts_with(file!()));
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let (_, sources, problems) = ProgramBuilder::build(|program| {
        let _ = program.config("my-name").default(1).string();
        program
            .resource("config", "Vpc")
            .set("name", text!("a-{}", list(["x"])))
            .depends_on("a.b")
            .ignore_changes("a..b")
            .alias("!");
        program.resource("net", "aws:ec2:Vpc").set("x", f64::NAN);
        program.resource("net", "aws:ec2:Vpc");
        program.output("1", true);
    });
    let found: Vec<String> = problems.iter().map(|p| p.message.clone()).collect();
    assert_eq!(
        found,
        [
            "`my-name` is not a name that expressions can use",
            "`my-name` is of type string, but its default is of type integer",
            "`config` means something else in expressions",
            "`Vpc` is not a kind",
            "only texts, numbers, truth values and expressions can stand in a text",
            "`a.b` is not the address of a resource",
            "`a..b` is not a property path: write it as `spec.containers[web].image` or `metadata.labels[\"a/b\"]`",
            "`!` is not an address or a URN",
            "NaN is not a number that can be sent",
            "the resource `net` is declared twice",
            "`1` is not a name that expressions can use",
        ]
    );
    let shown = crate::program::render(&problems, &sources, false, 100);
    assert!(shown.contains(&format!("--> {}:", file!())), "{shown}");
    assert!(shown.ends_with("11 errors\n"), "{shown}");
}

#[test]
fn expressions_keep_their_meaning_when_joined() {
    let (a, b) = (cel("x || y"), cel("z"));
    assert_eq!(a.clone().and(b.clone()).text, "(x || y) && (z)");
    assert_eq!(a.not().text, "!(x || y)");
    assert_eq!(b.clone().choose("yes", 2).text, "(z) ? \"yes\" : 2");
    assert_eq!(b.equals("q\"\n\u{7}").text, "(z) == \"q\\\"\\n\\u0007\"");
}

#[test]
fn conditions_add_up() {
    let (program, _, problems) = ProgramBuilder::build(|program| {
        let on = program.config("on").boolean();
        let env = program.config("env").string();
        program.when(&on, |program| {
            program.when(env.equals("prod"), |program| {
                program.resource("a", "aws:ec2:Vpc").when(env.differs("dev"));
            });
            program.resource("b", "aws:ec2:Vpc");
        });
        program.resource("c", "aws:ec2:Vpc");
    });
    assert_eq!(problems, []);
    let when: Vec<String> = program
        .resources
        .iter()
        .map(|r| {
            r.when
                .as_ref()
                .map_or(String::new(), |w| format!("{:?}", w.template))
        })
        .collect();
    assert!(
        when[0].contains("(config.on && (config.env == \\\"prod\\\")) && (config.env != \\\"dev\\\")")
            || when[0].contains("(config.on && (config.env == \"prod\")) && (config.env != \"dev\")"),
        "{}",
        when[0]
    );
    assert!(when[1].contains("config.on"), "{}", when[1]);
    assert_eq!(when[2], "");
}

#[test]
fn brackets_in_a_text_are_doubled() {
    let plain = |input: super::Input| input.located.template;
    assert_eq!(plain(text!("{{}} {} }}", "x")), Template::text("{} x }"));
    assert_eq!(plain(text!("")), Template::text(""));
}
