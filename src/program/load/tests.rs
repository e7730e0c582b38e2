use std::fs;
use std::path::Path;

use epid_provider::Value;
use proptest::prelude::*;

use super::{Loaded, load, parse_program};
use crate::expression::Template;
use crate::program::{ConfigType, Diagnostic, Program, Severity, Sources, render};

const SERVICES: &str = r#"
[config.environment]                 # typed
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

fn parsed(text: &str) -> Program {
    let (program, sources, problems) = parse_program(text, "p.toml");
    program.unwrap_or_else(|| panic!("{}", render(&problems, &sources, false, 100)))
}

fn shown(text: &str) -> String {
    let (_, sources, problems) = parse_program(text, "p.toml");
    render(&problems, &sources, false, 100)
}

/// `message (hint)` of everything wrong, in order.
fn problems(text: &str) -> Vec<String> {
    let (_, _, problems) = parse_program(text, "p.toml");
    problems.iter().map(line).collect()
}

fn line(problem: &Diagnostic) -> String {
    match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.message),
        None => problem.message.clone(),
    }
}

#[test]
fn the_services_program_is_read() {
    let program = parsed(SERVICES);
    assert_eq!(program.config.len(), 2);
    assert_eq!(program.config[1].default, Some(Value::str("latest")));
    assert_eq!(program.config[0].ty, ConfigType::String);
    assert_eq!(program.providers[0].kind.as_str(), "epid:provider:kubernetes");
    let curator = &program.resources[0];
    assert_eq!(curator.kind.as_str(), "epid:kubernetes:WebService");
    assert_eq!(curator.options.provider.as_deref(), Some("cluster"));
    let Template::Expression(url) = &program.outputs[0].value.template else {
        panic!("{:?}", program.outputs[0].value)
    };
    assert_eq!(url.text(), "curator.url");
    let span = url.span();
    assert_eq!(&SERVICES[span.start as usize..span.end as usize], "curator.url");
    let image = curator.properties.template.get("image").unwrap();
    assert!(SERVICES[image.key_span.start as usize..].starts_with("image"));
    assert!(SERVICES[image.span.start as usize..].starts_with("\"healthmapidha"));
}

#[test]
fn declarations_keep_their_order() {
    let program = parsed(
        "[resources]\nz.type = 'a:b:C'\na.type = 'a:b:C'\n[resources.m]\ntype = 'a:b:C'\nproperties = { y = 1, b = 2 }\n",
    );
    let names: Vec<&str> = program.resources.iter().map(|r| &*r.name).collect();
    assert_eq!(names, ["z", "a", "m"]);
    let Template::Map(entries) = &program.resources[2].properties.template else {
        panic!()
    };
    assert_eq!(entries.iter().map(|(k, _)| &**k).collect::<Vec<_>>(), ["y", "b"]);
}

#[test]
fn a_mistake_is_shown_at_its_place() {
    insta::assert_snapshot!(shown("[resources.vpc]\ntype = \"aws:ec2:Vpc\"\npropertis.cidrBlock = \"10.0.0.0/16\"\n"), @r#"
    error: unknown key `propertis` in resource `vpc`
     --> p.toml:3:1
      |
    3 | propertis.cidrBlock = "10.0.0.0/16"
      | ^^^^^^^^^ did you mean `properties`?

    1 error
    "#);
}

#[test]
fn broken_syntax_is_reported_all_at_once_and_without_echo() {
    insta::assert_snapshot!(shown("[resources.a]\ntype = aws:ec2:Vpc\n[resources.b]\ntype = \"aws:ec2:Vpc\"\nprotect = true\n[resources.b]\n[outputs]\nx = 08\n"), @r#"
    error: this is not TOML: a string needs quotes
     --> p.toml:2:8
      |
    2 | type = aws:ec2:Vpc
      |        ^^^^^^^^^^^ write "aws:ec2:Vpc"

    error: unknown key `protect` in resource `b`
     --> p.toml:5:1
      |
    5 | protect = true
      | ^^^^^^^ `protect` belongs in [resources.b.options]

    error: `b` is given twice
     --> p.toml:6:12
      |
    6 | [resources.b]
      |            ^ put both into one

    error: this is not TOML: unexpected leading zero
     --> p.toml:8:5
      |
    8 | x = 08
      |     ^

    4 errors
    "#);
}

#[test]
fn mistakes_have_suggestions() {
    let resource = |rest: &str| format!("[resources.a]\ntype = 'aws:ec2:Vpc'\n{rest}\n");
    for (text, expected) in [
        (
            resource("protect = true"),
            "unknown key `protect` in resource `a` (`protect` belongs in [resources.a.options])",
        ),
        (
            resource("dependOn = []"),
            "unknown key `dependOn` in resource `a` (`dependsOn` belongs in [resources.a.options])",
        ),
        (
            resource("cidrBlock = ''"),
            "unknown key `cidrBlock` in resource `a` (`cidrBlock` belongs in [resources.a.properties])",
        ),
        (
            resource("foreach = []"),
            "unknown key `foreach` in resource `a` (did you mean `forEach`?)",
        ),
        (
            resource("options.protekt = true"),
            "unknown option `protekt` of `a` (did you mean `protect`?)",
        ),
        (
            resource("options.protect = '${x}'"),
            "`protect` takes a boolean, not a string",
        ),
        (
            resource("options.provider = '${x}'"),
            "`provider` cannot be an expression (options are known before anything runs; expressions stand in properties)",
        ),
        (
            resource("options.dependsOn = ['${b.id}']"),
            "`${b.id}` is not the address of a resource (name the whole resource: \"b\")",
        ),
        (
            resource("options.timeouts.create = 10"),
            "the timeout `create` needs a unit: 10 (write it as \"90s\", \"10m\" or \"1h30m\")",
        ),
        (
            resource("options.timeouts.create = '10min'"),
            "`10min` is not a duration: a number is missing (write it as \"90s\", \"10m\" or \"1h30m\")",
        ),
        (
            resource("options.timeouts.crate = '1m'"),
            "unknown key `crate` in timeouts (did you mean `create`?)",
        ),
        (
            resource("options.ignoreChanges = ['a..b']"),
            "`a..b` is not a property path: write it as `spec.containers[web].image` or `metadata.labels[\"a/b\"]`",
        ),
        (
            resource("properties.since = 2026-11-23"),
            "a date is not a value that properties can have (write it as a string: \"2026-11-23\")",
        ),
        (
            resource("properties.n = 9223372036854775808"),
            "9223372036854775808 does not fit into 64 bits (integers go from -9223372036854775808 to 9223372036854775807; write it as a string)",
        ),
        (
            resource("properties.n = inf"),
            "inf is not a number that can be sent (neither JSON nor a cloud's API has it; write it as a string)",
        ),
        (
            resource("properties = 1"),
            "`properties` takes a table, not an integer (write [resources.a.properties])",
        ),
        (
            resource("if = 1"),
            "`if` takes a boolean or an expression, not an integer (such as if = \"config.environment == 'prod'\")",
        ),
        (
            "[resources.my-app]\ntype = 'a:b:C'".into(),
            "`my-app` is not a name that expressions can use (call it `myApp`)",
        ),
        (
            "[resources.config]\ntype = 'a:b:C'".into(),
            "`config` means something else in expressions (call it otherwise, such as `myConfig`)",
        ),
        (
            "[resources.a]\ntype = 'Vpc'".into(),
            "`Vpc` is not a kind (a kind is `provider:module:Name`, such as `aws:ec2:Vpc`)",
        ),
        (
            "[resources.a]\nkind = 'a:b:C'".into(),
            "unknown key `kind` in `a` (did you mean `type`?)",
        ),
        ("[resources]\na = 1".into(), "`a` takes a table, not an integer"),
        (
            "[config.x]\ntype = 'bool'".into(),
            "`bool` is not a type of configuration (did you mean `boolean`?)",
        ),
        (
            "[config.x]\ntype = 'string'\ndefault = 1".into(),
            "`x` is of type string, but its default is of type integer",
        ),
        (
            "[config.x]\ntype = 'string'\nsecret = true\ndefault = 'a'".into(),
            "the secret `x` stands here in clear (seal it in the stack file, under [secrets])",
        ),
        (
            "[config]\nx = 1".into(),
            "a program declares `x`, it does not give its value (write [config.x] with a `type` here and the value in the stack file)",
        ),
        (
            "[providers.aws]\ntype = 'aws:x'".into(),
            "`aws:x` is not a type of provider (a type of provider is one word, such as `aws` or `kubernetes`)",
        ),
        (
            "[providers.aws]\ntype = 'aws'\nregion = 'x'".into(),
            "unknown key `region` in provider `aws` (`region` belongs in [providers.aws.properties])",
        ),
        (
            "[resource.a]".into(),
            "unknown key `resource` in a program (did you mean `resources`?)",
        ),
        (
            "[secrets]".into(),
            "`secrets` does not belong in a program (it belongs in a stack file)",
        ),
    ] {
        let found = problems(&text);
        assert!(
            found.iter().any(|f| f == expected),
            "{text}\nexpected {expected}\nfound {found:#?}"
        );
        assert!(found.len() <= 2, "{found:#?}");
    }
}

#[test]
fn outputs_are_values_or_described() {
    let program =
        parsed("[outputs]\na = 1\nb = { value = 2, secret = true }\nc = { value = 3, other = 4 }\n");
    let secret: Vec<bool> = program.outputs.iter().map(|o| o.secret).collect();
    assert_eq!(secret, [false, true, false]);
    assert_eq!(
        program.outputs[1].value.template,
        Template::Literal(Value::Int(2))
    );
    assert!(matches!(program.outputs[2].value.template, Template::Map(_)));
}

#[test]
fn conditions_need_no_dollar() {
    let program = parsed(
        "[resources.a]\ntype = 'a:b:C'\nif = 'config.x'\nforEach = \"${config.y}\"\n[resources.b]\ntype = 'a:b:C'\nif = false\nforEach = ['x']\n",
    );
    let when = |at: usize| program.resources[at].when.clone().unwrap().template;
    assert!(matches!(when(0), Template::Expression(e) if e.text() == "config.x"));
    assert_eq!(when(1), Template::Literal(Value::Bool(false)));
    let each = program.resources[0].for_each.clone().unwrap().template;
    assert!(matches!(each, Template::Expression(e) if e.text() == "config.y"));
}

/// A project on disk.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            folder.write(path, text.as_bytes());
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test makes its files")]
        fs::write(path, bytes).unwrap();
    }

    fn load(&self) -> Loaded {
        load(self.path())
    }
}

const MANIFEST: (&str, &str) = ("Epid.toml", "name = \"healthmapidha\"\ndefaultStack = \"dev\"\n");

fn usable(loaded: &Loaded) -> Vec<&str> {
    let project = loaded.project.as_ref().unwrap();
    project.stacks.iter().map(|s| &*s.name).collect()
}

#[test]
fn a_project_is_loaded_with_its_stacks() {
    let folder = Folder::new(&[
        (
            "Epid.toml",
            "name = \"healthmapidha\"\ndefaultStack = \"dev\"\n[backend]\ntype = \"s3\"\nbucket = \"states\"\n[providers.aws]\ntype = \"aws\"\nproperties.region = \"us-east-1\"\n[providers.cluster]\ntype = \"kubernetes\"\n",
        ),
        ("stacks/programs/services.toml", SERVICES),
        (
            "stacks/dev.toml",
            "program = \"programs/services.toml\"\nkey = \"k1\"\nsandbox = true\n[config]\nenvironment = \"dev\"\n[secrets]\npassword = \"sealed\"\n[references]\nplatform = \"platform\"\n",
        ),
        (
            "stacks/prod.toml",
            "program = \"./programs/../programs/services.toml\"\n",
        ),
        (
            "stacks/platform.toml",
            "[config]\nregion = \"x\"\n[resources.vpc]\ntype = \"aws:ec2:Vpc\"\n",
        ),
    ]);
    let loaded = folder.load();
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(usable(&loaded), ["dev", "platform", "prod"]);
    let project = loaded.project.as_ref().unwrap();
    assert_eq!(project.default_stack.as_deref(), Some("dev"));
    let backend = project.backend.as_ref().unwrap();
    assert_eq!((&*backend.kind, &*backend.settings["bucket"]), ("s3", "states"));
    let dev = project.stack("dev").unwrap();
    assert!(dev.sandbox && !dev.program.open_config);
    assert_eq!(dev.key.as_deref(), Some("k1"));
    assert_eq!(dev.config["environment"].0, Value::str("dev"));
    assert_eq!(&*dev.secrets["password"].0, "sealed");
    assert_eq!(&*dev.references["platform"].0, "platform");
    // The program's own provider stands for that of Epid.toml.
    let providers: Vec<&str> = dev.program.providers.iter().map(|p| &*p.name).collect();
    assert_eq!(providers, ["aws", "cluster"]);
    let cluster = dev.program.providers[1].properties.template.get("cluster");
    assert!(cluster.is_some());
    assert_eq!(project.stack("prod").unwrap().program, dev.program);
    assert_eq!(
        loaded.sources.place(dev.program.resources[0].span).unwrap(),
        "stacks/programs/services.toml:12:12"
    );
    assert!(project.stack("platform").unwrap().program.open_config);
}

#[test]
fn a_broken_stack_leaves_the_others_usable() {
    let folder = Folder::new(&[
        MANIFEST,
        ("stacks/dev.toml", "program = \"programs/good.toml\"\n"),
        ("stacks/bad.toml", "program = \"programs/goood.toml\"\n"),
        ("stacks/worse.toml", "[config\n"),
        ("stacks/shared1.toml", "program = \"programs/bad.toml\"\n"),
        ("stacks/shared2.toml", "program = \"programs/bad.toml\"\n"),
        ("stacks/programs/good.toml", ""),
        ("stacks/programs/bad.toml", "[resources.x]\ntype = 1\n"),
    ]);
    let loaded = folder.load();
    assert_eq!(usable(&loaded), ["dev"]);
    assert_eq!(loaded.stacks().count(), 5);
    assert_eq!(loaded.problems_of("dev"), []);
    assert_eq!(
        line(&loaded.problems_of("bad")[0]),
        "stacks/programs/goood.toml is not there (did you mean `stacks/programs/good.toml`?)"
    );
    assert_eq!(loaded.problems_of("shared1"), loaded.problems_of("shared2"));
    assert_eq!(loaded.problems_of("shared1").len(), 1);
    // What two stacks share is reported once.
    assert_eq!(loaded.diagnostics.len(), 3, "{:#?}", loaded.diagnostics);
}

#[test]
fn settings_of_a_backend_are_checked_where_they_stand() {
    let text = "name = \"x\"\n[backend]\ntype = \"s3\"\nbucket = \"My_Bucket\"\nregion = \"\"\nendpoint = \"minio:9000\"\n";
    let folder = Folder::new(&[("Epid.toml", text), ("stacks/dev.toml", "")]);
    let loaded = folder.load();
    let found: Vec<String> = loaded.problems_of("dev").iter().map(line).collect();
    assert_eq!(
        found,
        [
            "`My_Bucket` is not a bucket's name",
            "`region` is empty; leave it out instead",
            "`minio:9000` is no URL: it begins with neither https:// nor http://",
        ]
    );
}

#[test]
fn what_is_wrong_with_the_project_is_wrong_with_every_stack() {
    let folder = Folder::new(&[
        (
            "Epid.toml",
            "nam = \"x\"\n[backend]\ntype = \"s3\"\nbukket = \"y\"\n",
        ),
        ("stacks/dev.toml", ""),
    ]);
    let loaded = folder.load();
    assert!(loaded.project.is_none());
    let found: Vec<String> = loaded.problems_of("dev").iter().map(line).collect();
    assert_eq!(
        found,
        [
            "the project has no name (write name = \"…\" at the top of Epid.toml)",
            "unknown key `bukket` in the s3 backend (did you mean `bucket`?)",
            "the s3 backend has no bucket (name an existing bucket: bucket = \"…\")",
            "unknown key `nam` in Epid.toml (did you mean `name`?)",
        ]
    );
    let nothing = tempfile::tempdir().unwrap();
    let loaded = load(nothing.path());
    assert!(loaded.project.is_none());
    assert!(
        loaded.diagnostics[0]
            .message
            .starts_with("there is no Epid.toml in ")
    );
}

#[test]
fn mistakes_in_stacks_have_suggestions() {
    for (text, expected) in [
        (
            "program = 'x.toml'\n[resources.a]\ntype = 'a:b:C'",
            "a stack with a program does not declare resources (put them into the program, or take `program` out)",
        ),
        (
            "[config]\na = 1\n[secrets]\na = 'x'",
            "`a` stands under [config] and under [secrets] (take one of them out)",
        ),
        (
            "[references]\nplatform = 'dve'",
            "there is no stack `dve` (did you mean `dev`?)",
        ),
        (
            "[references]\nme = 'dev'",
            "the stack `dev` refers to itself (within a stack, resources are referred to by their names)",
        ),
        (
            "[references]\nmy-platform = 'prod'",
            "`my-platform` is not a name that expressions can use (call it `myPlatform`)",
        ),
        (
            "defaultStack = 'x'",
            "`defaultStack` does not belong in a stack file (it belongs in Epid.toml)",
        ),
        (
            "refrences = {}",
            "unknown key `refrences` in a stack file (did you mean `references`?)",
        ),
        ("[secrets]\na = 1", "`a` takes a string, not an integer"),
        (
            "program = '/etc/x.toml'",
            "the path of a program is relative to its stack file (such as program = \"programs/services.toml\")",
        ),
        (
            "program = 'x.rs'",
            "stacks/x.rs is a program in Rust, which only its own binary runs (that binary has this whole command line: cargo run -- preview)",
        ),
        (
            "program = '../k8s'",
            "`../k8s` is not a program (a program is a .toml file, or the .rs file of a program in Rust)",
        ),
        (
            "[config]\nx = 'a ${b}'",
            "`x` keeps its `${` as it is: configuration is not evaluated (expressions stand in properties and outputs of the program)",
        ),
    ] {
        let folder = Folder::new(&[MANIFEST, ("stacks/dev.toml", text), ("stacks/prod.toml", "")]);
        let loaded = folder.load();
        let found: Vec<String> = loaded.problems_of("dev").iter().map(line).collect();
        assert!(
            found.iter().any(|f| f == expected),
            "{text}\nexpected {expected}\nfound {found:#?}"
        );
    }
}

#[test]
fn configuration_is_declared_in_a_stack_that_has_its_resources() {
    let folder = Folder::new(&[
        MANIFEST,
        (
            "stacks/dev.toml",
            "[config]\nn = 1\n[config.size]\ntype = \"integer\"\ndefault = 3\n",
        ),
        (
            "stacks/values.toml",
            "[config.db]\ntype = \"postgres\"\n[config.tags]\ntype = \"string\"\nteam = \"x\"\n",
        ),
    ]);
    let loaded = folder.load();
    assert_eq!(loaded.diagnostics, []);
    let project = loaded.project.unwrap();
    let dev = project.stack("dev").unwrap();
    assert_eq!(dev.program.config.len(), 1);
    assert!(!dev.program.open_config);
    assert_eq!(dev.config["n"].0, Value::Int(1));
    let values = project.stack("values").unwrap();
    assert!(values.program.open_config);
    assert_eq!(
        values.config["db"].0,
        Value::map([("type", Value::str("postgres"))])
    );
    assert_eq!(values.config.len(), 2);
}

#[test]
fn manifests_are_read() {
    let manifests = |files: &str| {
        format!("[resources.m]\ntype = \"kubernetes:yaml:Manifests\"\nproperties.files = {files}\n")
    };
    let folder = Folder::new(&[
        MANIFEST,
        (
            "stacks/dev.toml",
            &manifests("[\"k8s/*.yaml\", \"k8s/x/**/*.yaml\"]"),
        ),
        ("stacks/none.toml", &manifests("\"k8s/a.yml\"")),
        ("stacks/open.toml", &manifests("[\"${config.x}\"]")),
        ("k8s/b.yaml", "b"),
        ("k8s/a.yaml", "\u{feff}a"),
        ("k8s/x/y/c.yaml", "c"),
    ]);
    let loaded = folder.load();
    let project = loaded.project.as_ref().unwrap();
    let files = &project.stack("dev").unwrap().program.files;
    let found: Vec<(String, &str)> = files["k8s/*.yaml"]
        .iter()
        .map(|f| (f.path.display().to_string(), &*f.text))
        .collect();
    assert_eq!(
        found,
        [("k8s/a.yaml".to_owned(), "a"), ("k8s/b.yaml".to_owned(), "b")]
    );
    assert_eq!(files["k8s/x/**/*.yaml"].len(), 1);
    assert_eq!(
        line(&loaded.problems_of("none")[0]),
        "`k8s/a.yml` finds no file (did you mean `k8s/a.yaml`?)"
    );
    assert_eq!(
        line(&loaded.problems_of("open")[0]),
        "the files of `m` must be known before the run (write their paths without expressions)"
    );
}

#[test]
fn files_that_cannot_be_read_are_errors() {
    let folder = Folder::new(&[MANIFEST]);
    fs::create_dir_all(folder.path().join("stacks/folder.toml")).unwrap();
    folder.write("stacks/latin.toml", b"# one\nx = \"\xe9\"\n");
    folder.write("stacks/large.toml", &vec![b'\n'; 16 * 1024 * 1024 + 1]);
    folder.write("stacks/bom.toml", "\u{feff}[config]\r\na = 1\r\n".as_bytes());
    #[cfg(unix)]
    std::os::unix::fs::symlink("loop.toml", folder.path().join("stacks/loop.toml")).unwrap();
    let loaded = folder.load();
    assert_eq!(usable(&loaded), ["bom"]);
    let found = |stack: &str| {
        loaded
            .problems_of(stack)
            .iter()
            .map(|d| d.message.clone())
            .collect::<Vec<_>>()
    };
    let other = |stack: &str| {
        found(stack)
            .into_iter()
            .filter(|m| !m.contains("default stack"))
            .collect::<Vec<_>>()
    };
    assert_eq!(other("folder"), ["stacks/folder.toml is a folder, not a file"]);
    assert_eq!(other("latin"), ["stacks/latin.toml is not UTF-8"]);
    assert_eq!(other("large"), ["stacks/large.toml is larger than 16 MiB"]);
    #[cfg(unix)]
    assert!(
        other("loop")[0].starts_with("stacks/loop.toml cannot be read: "),
        "{:?}",
        other("loop")
    );
    let latin = loaded.problems_of("latin");
    let place = latin
        .iter()
        .find_map(|d| loaded.sources.place(d.span?).filter(|p| p.contains("latin")));
    assert_eq!(place.unwrap(), "stacks/latin.toml:2:6");
}

fn sound_places(sources: &Sources, problems: &[Diagnostic]) {
    for problem in problems {
        let Some(span) = problem.span else { continue };
        let text = sources.get(span.source).unwrap().text.as_ref().unwrap();
        assert!(
            text.get(span.start as usize..span.end as usize).is_some(),
            "{problem:?}"
        );
    }
    assert_eq!(
        render(problems, sources, true, 80).is_empty(),
        problems.is_empty()
    );
}

fn mutated() -> impl Strategy<Value = String> {
    let change = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        "[\\[\\]{}\"'=.,$#\\\\\n a-z0-9é]{0,4}",
    );
    prop::collection::vec(change, 1..6).prop_map(|changes| {
        let mut text: Vec<char> = SERVICES.chars().collect();
        for (at, length, new) in changes {
            let at = at.index(text.len() + 1);
            let to = (at + length.index(6)).min(text.len());
            text.splice(at..to, new.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let (program, sources, problems) = parse_program(&text, "p.toml");
        prop_assert_eq!(program.is_none(), problems.iter().any(|d| d.severity == Severity::Error));
        sound_places(&sources, &problems);
    }

    #[test]
    fn a_changed_program_is_read_or_refused(text in mutated()) {
        let (program, sources, problems) = parse_program(&text, "p.toml");
        prop_assert_eq!(program.is_none(), problems.iter().any(|d| d.severity == Severity::Error));
        sound_places(&sources, &problems);
    }

    #[test]
    fn newlines_and_a_byte_order_mark_change_nothing(text in mutated()) {
        let (plain, _, _) = parse_program(&text, "p.toml");
        let (other, _, _) = parse_program(&format!("\u{feff}{}", text.replace('\n', "\r\n")), "p.toml");
        let names = |p: &Option<Program>| p.as_ref().map(|p| p.resources.iter().map(|r| r.name.clone()).collect::<Vec<_>>());
        prop_assert_eq!(names(&plain), names(&other));
    }
}

#[test]
fn the_project_of_this_repository_is_sound() {
    let loaded = load(Path::new(env!("CARGO_MANIFEST_DIR")));
    let shown = render(&loaded.diagnostics, &loaded.sources, false, 100);
    assert!(shown.is_empty(), "{shown}");
    assert_eq!(usable(&loaded), ["dev", "platform", "prod"]);
}
