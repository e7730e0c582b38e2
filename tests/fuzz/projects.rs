//! A project's own files: `Epid.toml`, stacks, programs, and what names resources on the command line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use epid::graph::{Inputs, Providers, Selector, build};
use epid::program::{Sources, draft_values, load, parse_program, render};
use epid_provider::{Map, Urn, Value};
use proptest::prelude::*;

use crate::manifests::YAML;
use crate::texts::{WORDS, cases, change, changed};

/// The files of this repository's own project, which most of this begins from.
static FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let names = [
        "Epid.toml",
        "stacks/dev.toml",
        "stacks/prod.toml",
        "stacks/platform.toml",
        "stacks/programs/services.toml",
        "stacks/programs/cluster.toml",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<(String, String)> = names
        .iter()
        .map(|name| ((*name).to_owned(), fs::read_to_string(root.join(name)).unwrap()))
        .collect();
    files.push(("stacks/rest.toml".to_owned(), REST.to_owned()));
    files.push(("k8s/all.yaml".to_owned(), YAML.to_owned()));
    files
});

/// What the project of this repository has not.
const REST: &str = r#"
sandbox = true
[config]
zones = ["a", "b"]
tags = { team = "x", n = 1 }
[providers.k]
type = "kubernetes"
properties = { kubeconfig = "x", namespace = "shop" }
[resources.m]
type = "kubernetes:yaml:Manifests"
properties.files = ["k8s/*.yaml"]
[resources.v]
type = "epid:data:Value"
forEach = "${config.zones}"
if = "size(config.zones) > 1"
properties.value = { key = "${each.key}", "a/b" = [1, 2.5, true, "x-${config.tags.team}-$${y}"] }
[resources.v.options]
dependsOn = ["m"]
protect = true
ignoreChanges = ["value.key"]
timeouts = { create = "1h30m" }
aliases = ["old", "m/child"]
[resources.w]
type = "epid:data:Value"
properties.value = "${v['a'].value.key + string(v.map(k, k).size())}"
[outputs]
all = { value = "${w.value}", secret = true, description = "All." }
"#;

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.add(Arc::new(epid::builtin::Builtin::default()));
    providers.add(Arc::new(epid_aws::Aws::new(epid_aws::Settings::ordinary())));
    let tokens = Arc::new(NoTokens);
    let settings =
        epid_kubernetes::Settings::real(tokens, Arc::new(|_: &str| Err(std::io::Error::other("none"))));
    providers.add(Arc::new(epid_kubernetes::Kubernetes::new(settings)));
    providers
}

struct NoTokens;

#[async_trait::async_trait]
impl epid_kubernetes::TokenSource for NoTokens {
    async fn token(
        &self,
        _: &epid_provider::Call,
        _: &epid_kubernetes::Cluster,
    ) -> Result<epid_kubernetes::BearerToken, epid_provider::Failure> {
        unreachable!("nothing is connected")
    }
}

/// Loads a project and takes every stack as far as it goes without a run.
fn taken(files: &[(String, Vec<u8>)]) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let loaded = load(folder.path());
    shown(&loaded.sources, &loaded.diagnostics);
    let components = epid::components::all();
    let providers = providers();
    let project = loaded.project.iter().flat_map(|project| &project.stacks);
    let drafts = loaded.stacks().filter_map(|name| loaded.draft(name));
    for stack in project.chain(drafts) {
        let (config, problems) = draft_values(stack, &BTreeMap::new());
        shown(&loaded.sources, &problems);
        let stacks = stack
            .references
            .keys()
            .map(|name| (name.clone(), Value::unknown("x")));
        let inputs = Inputs {
            project: "p",
            stack: "s",
            config,
            stacks: stacks.collect::<Map>(),
            components: &components,
            providers: &providers,
            digests: &|_: &[u8]| None,
            place: &|span| loaded.sources.place(span).map(Arc::from),
        };
        if let Err(problems) = build(&stack.program, &inputs) {
            shown(&loaded.sources, &problems);
        }
    }
}

/// Every problem can be shown, and stands at a place that there is.
fn shown(sources: &Sources, problems: &[epid::program::Diagnostic]) {
    let text = render(problems, sources, false, 100);
    assert!(
        text.len() < problems.len() * 4_000 + 100,
        "{} bytes for {} problems",
        text.len(),
        problems.len()
    );
    for problem in problems {
        assert!(!problem.message.is_empty());
        if let Some(span) = problem.span {
            assert!(sources.place(span).is_some(), "{problem:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_project_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let mut files: Vec<(String, Vec<u8>)> = FILES.iter().map(|(n, t)| (n.clone(), t.clone().into_bytes())).collect();
        let at = at.index(files.len());
        files[at].1 = changed(&FILES[at].1, &changes).into_bytes();
        taken(&files);
    }


    #[test]
    fn bytes_in_place_of_a_file_are_refused(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut files: Vec<(String, Vec<u8>)> = FILES.iter().map(|(n, t)| (n.clone(), t.clone().into_bytes())).collect();
        let at = at.index(files.len());
        files[at].1 = bytes;
        taken(&files);
    }


    #[test]
    fn words_in_any_order_are_read_or_refused(words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..60)) {
        let text = words.concat();
        let (_, sources, problems) = parse_program(&text, "p.toml");
        shown(&sources, &problems);
        drop(epid_kubernetes::manifest::parse(&text));
    }

    #[test]
    fn any_selector_is_taken_or_refused(text in "[a-z*/\\[\\]\":]{0,40}|\\PC{0,40}", name in "a{0,60}b?") {
        if let Ok(selector) = text.parse::<Selector>() {
            let kind = epid_provider::Kind::parse("epid:data:Value").unwrap();
            let path = if name.is_empty() { "x" } else { &name };
            let urn = Urn::new("p", "s", &kind, path);
            let named = selector.matches(&urn);
            prop_assert!(selector.to_string() != path || named);
        }
    }
}

#[test]
fn bombs_are_refused() {
    // A value that doubles with each resource, and one that nests.
    let mut doubling = String::new();
    let mut nesting = String::new();
    for n in 0..60 {
        let before = if n == 0 {
            "1".to_owned()
        } else {
            format!("\"${{r{}.value}}\"", n - 1)
        };
        let list = [before.as_str(); 8].join(", ");
        doubling.push_str(&format!(
            "[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = [{list}]\n"
        ));
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        nesting.push_str(&format!(
            "[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = {open}{before}{close}\n"
        ));
    }
    let mut text =
        String::from("[resources.t0]\ntype = \"epid:data:Value\"\nproperties.value = \"xxxxxxxxxxxxxxxx\"\n");
    for n in 1..60 {
        let part = format!("${{t{}.value}}", n - 1).repeat(8);
        text.push_str(&format!(
            "[resources.t{n}]\ntype = \"epid:data:Value\"\nproperties.value = \"{part}\"\n"
        ));
    }
    for stack in [doubling, nesting, text] {
        taken(&[
            ("Epid.toml".to_owned(), b"name = \"p\"\n".to_vec()),
            ("stacks/s.toml".to_owned(), stack.into_bytes()),
        ]);
    }
    for toml in [
        "[".repeat(200_000),
        format!("a = {}", "[".repeat(200_000)),
        format!("a = {}", "{a=".repeat(200_000)),
        "a.".repeat(200_000),
        format!("a = \"{}\"", "${".repeat(100_000)),
    ] {
        let (program, sources, problems) = parse_program(&toml, "p.toml");
        assert!(program.is_none());
        shown(&sources, &problems);
    }
}
