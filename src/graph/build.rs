//! From a program to its graph: expansion, providers, edges, checks, order. All problems at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use epid_provider::check::nearest;
use epid_provider::{Bond, Desired, Kind, KindSchema, Links, Map, Path, Problem, Urn, Value};

use super::names::{Binding, Known, Names, View};
use super::node::{Edge, Node, ResourceGraph, Why};
use super::order::sort;
use super::providers::{PROVIDER_KIND, Providers, provider_type};
use crate::expression::{Access, Digests, Located, Mention, Span, Template};
use crate::program::{
    Components, Diagnostic, Expanded, Instance, Options, Program, Setting, expand_what_can_be,
};

/// What a graph depends on besides its program.
pub struct Inputs<'a> {
    /// The project.
    pub project: &'a str,
    /// The stack.
    pub stack: &'a str,
    /// The values of `config`.
    pub config: Map,
    /// The values of `stacks`: the outputs of each referenced stack.
    pub stacks: Map,
    /// The components there are.
    pub components: &'a Components,
    /// The providers there are.
    pub providers: &'a Providers,
    /// What is known of secrets by their digests.
    pub digests: &'a dyn Digests,
    /// A place in a file as `file:line`.
    pub place: &'a dyn Fn(Span) -> Option<Arc<str>>,
}

/// Builds the graph of a program.
///
/// # Errors
/// Everything wrong with it: unknown kinds and properties, wrong types, references to nothing, cycles.
pub fn build(program: &Program, inputs: &Inputs<'_>) -> Result<ResourceGraph, Vec<Diagnostic>> {
    let setting = Setting {
        project: inputs.project,
        stack: inputs.stack,
        config: &inputs.config,
        components: inputs.components,
    };
    let (expanded, problems) = expand_what_can_be(program, &setting);
    let mut builder = Builder {
        inputs,
        problems,
        nodes: Vec::new(),
        names: Names::default(),
        lost_providers: program.incomplete.clone(),
    };
    builder.names.config = inputs.config.clone();
    builder.names.stacks = inputs.stacks.clone();
    builder.make_nodes(&expanded);
    builder.connect();
    let order = builder.sorted();
    builder.check(&order);
    let order = builder.sorted();
    let outputs = program
        .outputs
        .iter()
        .map(|o| (o.name.clone(), o.value.clone(), o.secret))
        .collect();
    builder.check_outputs(&outputs);
    if !builder.problems.is_empty() {
        return Err(builder.problems);
    }
    let mut slots: Vec<Option<Node>> = builder.nodes.into_iter().map(Some).collect();
    let nodes = order
        .iter()
        .filter_map(|at| slots.get_mut(*at as usize)?.take())
        .collect();
    Ok(ResourceGraph::new(nodes, builder.names, outputs))
}

struct Builder<'a> {
    inputs: &'a Inputs<'a>,
    problems: Vec<Diagnostic>,
    nodes: Vec<Node>,
    names: Names,
    /// Providers, and other names, that are declared and wrong: that one is missing is no further mistake.
    lost_providers: BTreeSet<Arc<str>>,
}

impl Builder<'_> {
    fn make_nodes(&mut self, expanded: &Expanded) {
        let mut declared: BTreeMap<Arc<str>, (Urn, Kind)> = BTreeMap::new();
        for instance in expanded.declarations.iter().filter(|i| i.is_provider) {
            if let Some(node) = self.node(instance, &BTreeMap::new()) {
                declared.insert(instance.address.clone(), (node.urn.clone(), node.kind.clone()));
                self.nodes.push(node);
            } else {
                self.lost_providers.insert(instance.address.clone());
            }
        }
        for instance in expanded.declarations.iter().filter(|i| !i.is_provider) {
            self.default_provider(instance, &mut declared);
            if let Some(node) = self.node(instance, &declared) {
                self.names
                    .bindings
                    .insert(instance.address.clone(), Binding::Resource(node.urn.clone()));
                self.nodes.push(node);
            } else {
                let unknown = Template::Literal(Value::unknown(&instance.address));
                self.names
                    .bindings
                    .insert(instance.address.clone(), Binding::Component(unknown));
            }
        }
        for (address, outputs) in &expanded.components {
            self.names
                .bindings
                .insert(address.clone(), Binding::Component(outputs.clone()));
        }
        for (name, instances) in &expanded.groups {
            self.names
                .bindings
                .entry(name.clone())
                .or_insert(Binding::Group(instances.clone()));
        }
    }

    /// Declares the provider that a resource needs and nobody declared, where it needs no configuration.
    fn default_provider(&mut self, instance: &Instance, declared: &mut BTreeMap<Arc<str>, (Urn, Kind)>) {
        let name = instance.kind.provider();
        let kind = Kind::parse(&format!("{PROVIDER_KIND}{name}"));
        let (Some(provider), Ok(kind)) = (self.inputs.providers.get(name), kind) else {
            return;
        };
        if name == "epid" || declared.values().any(|(_, k)| *k == kind) {
            return;
        }
        let urn = Urn::new(self.inputs.project, self.inputs.stack, &kind, name);
        let empty = Value::Map(Map::default());
        let desired = Desired {
            urn: urn.clone(),
            kind: kind.clone(),
            properties: empty.clone(),
        };
        if !provider.check(&desired).is_empty() {
            return;
        }
        declared.insert(Arc::from(name), (urn.clone(), kind.clone()));
        self.nodes.push(Node {
            urn,
            address: Arc::from(name),
            kind,
            properties: Located::from(Template::Map(Arc::from([]))),
            each: None,
            options: Options::default(),
            provider: None,
            schema: provider.config(),
            edges: Vec::new(),
            aliases: Vec::new(),
            deleted_with: None,
            stands_on: Vec::new(),
            served_by: Vec::new(),
            outside: false,
            span: Span::NONE,
            source: None,
        });
    }

    fn node(&mut self, instance: &Instance, declared: &BTreeMap<Arc<str>, (Urn, Kind)>) -> Option<Node> {
        let schema = self.schema(instance)?;
        let provider = if instance.is_provider || instance.kind.provider() == "epid" {
            None
        } else {
            // Without its provider it is looked at all the same, since nothing is made of a graph with mistakes.
            self.provider(instance, declared)
        };
        let urn = Urn::new(
            self.inputs.project,
            self.inputs.stack,
            &instance.kind,
            &instance.address,
        );
        let alias = |text: &Arc<str>| {
            Urn::parse(text)
                .unwrap_or_else(|_| Urn::new(self.inputs.project, self.inputs.stack, &instance.kind, text))
        };
        Some(Node {
            aliases: instance.options.aliases.iter().map(alias).collect(),
            urn,
            address: instance.address.clone(),
            kind: instance.kind.clone(),
            properties: instance.properties.clone(),
            each: instance.each.clone(),
            options: instance.options.clone(),
            provider,
            schema,
            edges: Vec::new(),
            deleted_with: None,
            stands_on: Vec::new(),
            served_by: Vec::new(),
            outside: false,
            span: instance.span,
            source: (self.inputs.place)(instance.span),
        })
    }

    fn schema(&mut self, instance: &Instance) -> Option<Arc<KindSchema>> {
        let schema = self.inputs.providers.schema(&instance.kind);
        if schema.is_none() {
            let kinds = self.inputs.providers.kinds();
            let all = kinds
                .iter()
                .chain(self.inputs.components.kinds())
                .map(Kind::as_str);
            let (message, candidates): (String, Vec<String>) = match provider_type(&instance.kind) {
                Some(name) => (
                    format!("there is no provider `{name}`"),
                    self.inputs.providers.iter().map(|(n, _)| n.to_owned()).collect(),
                ),
                None => (
                    format!("unknown kind `{}`", instance.kind),
                    all.map(str::to_owned).collect(),
                ),
            };
            let word = provider_type(&instance.kind).unwrap_or(instance.kind.as_str());
            let mut problem = Diagnostic::error(instance.kind_span, message);
            if let Some(near) = nearest(word, candidates.iter().map(String::as_str)) {
                problem = problem.with_hint(format!("did you mean `{near}`?"));
            } else if let Some(near) = namesake(word, &candidates) {
                problem = problem.with_hint(format!("did you mean `{near}`?"));
            } else if provider_type(&instance.kind).is_some() {
                problem = problem.with_hint(format!("there are {}", candidates.join(", ")));
            }
            self.problems.push(problem);
        }
        schema
    }

    fn provider(&mut self, instance: &Instance, declared: &BTreeMap<Arc<str>, (Urn, Kind)>) -> Option<Urn> {
        let wanted = instance.kind.provider();
        let of_type = |kind: &Kind| provider_type(kind) == Some(wanted);
        let named = instance.options.provider.as_ref();
        let lost = match named {
            Some(name) => self.lost_providers.contains(name) && !declared.contains_key(name),
            None => !self.lost_providers.is_empty() && declared.values().all(|(_, kind)| !of_type(kind)),
        };
        if lost {
            return None;
        }
        let span = instance.options.span("provider").or(instance.kind_span);
        let problem = match named {
            Some(name) => match declared.get(name) {
                Some((urn, kind)) if of_type(kind) => return Some(urn.clone()),
                // A component of several clouds hands its provider on to those of its children that can use it.
                Some(_) if instance.address.contains('/') => {
                    let mut own = instance.clone();
                    own.options.provider = None;
                    return self.provider(&own, declared);
                }
                Some((_, kind)) => Diagnostic::error(
                    span,
                    format!(
                        "`{}` is of type `{wanted}`, but its provider `{name}` is of type `{}`",
                        instance.address,
                        provider_type(kind).unwrap_or_default()
                    ),
                ),
                None => {
                    let problem = Diagnostic::error(span, format!("there is no provider `{name}`"));
                    match nearest(name, declared.keys().map(|n| &**n)) {
                        Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                        None => problem.with_hint(format!("declare it: [providers.{name}]")),
                    }
                }
            },
            None => {
                let mut fitting = declared.iter().filter(|(_, (_, kind))| of_type(kind));
                match (fitting.next(), fitting.next()) {
                    (Some((_, (urn, _))), None) => return Some(urn.clone()),
                    (Some((first, _)), Some((second, _))) => Diagnostic::error(
                        span,
                        format!("`{}` does not say which provider it uses", instance.address),
                    )
                    .with_hint(format!("set options.provider = \"{first}\" or \"{second}\"")),
                    _ => Diagnostic::error(
                        span,
                        format!("`{}` needs a `{wanted}` provider", instance.address),
                    )
                    .with_hint(format!("declare one: [providers.NAME] with type = \"{wanted}\"")),
                }
            }
        };
        self.problems.push(problem);
        None
    }

    /// Draws the edges of references, options and providers.
    fn connect(&mut self) {
        let mut edges: Vec<(Vec<Edge>, Option<Urn>, Vec<Urn>)> = Vec::with_capacity(self.nodes.len());
        let nodes = std::mem::take(&mut self.nodes);
        for node in &nodes {
            let mut found: Vec<Edge> = Vec::new();
            for mention in node.properties.template.references() {
                let to = self.names.resources(&mention.reference);
                if to.contains(&node.urn) {
                    let message = format!("`{}` refers to itself", node.address);
                    self.problems.push(
                        Diagnostic::error(mention.span.or(node.span), message)
                            .with_hint("its own properties stand beside this one: say the value here again, or keep it in [config]"),
                    );
                }
                found.extend(to.into_iter().map(|to| Edge {
                    to,
                    why: Why::Reference,
                }));
            }
            let depends = self.addresses(node, "dependsOn", &node.options.depends_on);
            found.extend(depends.into_iter().map(|to| Edge {
                to,
                why: Why::DependsOn,
            }));
            let served_by = self.addresses(node, "servedBy", &node.options.served_by);
            found.extend(served_by.iter().map(|to| Edge {
                to: to.clone(),
                why: Why::ServedBy,
            }));
            let with: Vec<Arc<str>> = node.options.deleted_with.iter().cloned().collect();
            let deleted_with = self.addresses(node, "deletedWith", &with).into_iter().next();
            found.extend(deleted_with.iter().map(|to| Edge {
                to: to.clone(),
                why: Why::DeletedWith,
            }));
            found.extend(node.provider.iter().map(|to| Edge {
                to: to.clone(),
                why: Why::Provider,
            }));
            found.retain(|edge| edge.to != node.urn);
            edges.push((found, deleted_with, served_by));
        }
        self.nodes = nodes;
        for (node, (edges, deleted_with, served_by)) in self.nodes.iter_mut().zip(edges) {
            (node.edges, node.deleted_with, node.served_by) = (edges, deleted_with, served_by);
        }
    }

    fn addresses(&mut self, node: &Node, option: &str, addresses: &[Arc<str>]) -> Vec<Urn> {
        let mut found = Vec::new();
        for address in addresses {
            let beneath = self.names.beneath(address);
            if beneath.is_empty()
                && !self.names.bindings.contains_key(address)
                && !self.names.is_lost(address)
            {
                let message = format!(
                    "{option} of `{}` names `{address}`, which is not declared",
                    node.address
                );
                let at = addresses.iter().position(|a| a == address).unwrap_or_default();
                let span = node.options.span(&format!("{option}[{at}]"));
                let mut problem =
                    Diagnostic::error(span.or(node.options.span(option)).or(node.span), message);
                if let Some(near) = nearest(address, self.names.bindings.keys().map(|n| &**n)) {
                    problem = problem.with_hint(format!("did you mean `{near}`?"));
                }
                self.problems.push(problem);
            }
            found.extend(beneath);
        }
        found
    }

    /// The order of the nodes; declaration order where there is a cycle, which is reported.
    fn sorted(&mut self) -> Vec<u32> {
        let place: HashMap<&Urn, u32> = (0u32..).zip(&self.nodes).map(|(at, n)| (&n.urn, at)).collect();
        let after: Vec<Vec<u32>> = self
            .nodes
            .iter()
            .map(|n| n.edges.iter().filter_map(|e| place.get(&e.to).copied()).collect())
            .collect();
        match sort(&after) {
            Ok(order) => order,
            Err(cycles) => {
                for cycle in cycles {
                    let nodes: Vec<&Node> = cycle
                        .iter()
                        .filter_map(|at| self.nodes.get(*at as usize))
                        .collect();
                    let mut path: Vec<String> = nodes.iter().map(|n| format!("`{}`", n.address)).collect();
                    path.extend(path.first().cloned());
                    let span = match nodes.as_slice() {
                        [one, next, ..] => self.leads(one, next),
                        _ => nodes.first().map_or(Span::NONE, |n| n.span),
                    };
                    let message = format!("resources depend on each other: {}", path.join(" → "));
                    let problem =
                        Diagnostic::error(span, message).with_hint("take one of these references out");
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                }
                (0u32..).zip(&self.nodes).map(|(at, _)| at).collect()
            }
        }
    }

    /// The place in `node` that makes it wait for `other`.
    fn leads(&self, node: &Node, other: &Node) -> Span {
        let mentions = node.properties.template.references();
        let mention = mentions
            .iter()
            .find(|mention| self.names.resources(&mention.reference).contains(&other.urn));
        let waits = node.options.depends_on.iter().enumerate();
        let option = waits
            .filter(|(_, address)| self.names.beneath(address).contains(&other.urn))
            .map(|(at, _)| node.options.span(&format!("dependsOn[{at}]")))
            .next();
        let span = mention.map(|m| m.span).or(option).unwrap_or_default();
        span.or(node.span)
    }

    /// Evaluates every node with outputs unknown, asks the providers what is wrong, and draws the edges of links.
    fn check(&mut self, order: &[u32]) {
        let mut known: HashMap<Urn, Known> = HashMap::new();
        let mut links: Vec<Links> = vec![Links::default(); self.nodes.len()];
        for &at in order {
            let Some(node) = self.nodes.get(at as usize) else {
                continue;
            };
            let look = |urn: &Urn| known.get(urn).cloned();
            let view = View::new(&self.names, node.each.as_ref(), &look, self.inputs.digests);
            let value = match node.properties.template.evaluate(&view) {
                Ok(value) => value,
                Err(errors) => {
                    self.problems.extend(errors.into_iter().map(|e| {
                        let problem = Diagnostic::error(e.span.or(node.span), e.message);
                        Diagnostic {
                            hint: e.hint,
                            ..problem
                        }
                    }));
                    continue;
                }
            };
            let desired = Desired {
                urn: node.urn.clone(),
                kind: node.kind.clone(),
                properties: value,
            };
            if let Some(provider) = self.inputs.providers.of(&node.kind) {
                let problems = provider.check(&desired);
                self.problems
                    .extend(problems.into_iter().map(|problem| place(node, problem)));
                if let Some(slot) = links.get_mut(at as usize) {
                    *slot = provider.links(&desired);
                }
            }
            known.insert(
                node.urn.clone(),
                super::names::unmade(&node.address, desired.properties, &node.schema),
            );
        }
        self.link(&links);
    }

    fn link(&mut self, links: &[Links]) {
        let mut providers: HashMap<(Option<Urn>, Arc<str>), Urn> = HashMap::new();
        for (node, links) in self.nodes.iter().zip(links) {
            for what in &links.provides {
                providers
                    .entry((node.provider.clone(), what.clone()))
                    .or_insert_with(|| node.urn.clone());
            }
        }
        let containers: HashMap<Urn, Urn> = self
            .nodes
            .iter()
            .filter_map(|n| Some((n.urn.clone(), self.cluster(n)?)))
            .collect();
        for (node, links) in self.nodes.iter_mut().zip(links) {
            node.outside = links.outside;
            let mut container = None;
            for requirement in &links.requires {
                let found = providers.get(&(node.provider.clone(), requirement.what.clone()));
                let Some(to) = found.filter(|to| **to != node.urn) else {
                    continue;
                };
                if !node.edges.iter().any(|edge| edge.to == *to) {
                    node.edges.push(Edge {
                        to: to.clone(),
                        why: Why::Link,
                    });
                }
                match requirement.bond {
                    Bond::Needs => {}
                    Bond::Upon => node.stands_on.push(to.clone()),
                    Bond::Inside => container = Some(to.clone()),
                }
            }
            let connects = containers.get(node.provider.as_ref().unwrap_or(&node.urn));
            let cluster = connects.cloned();
            node.deleted_with = node.deleted_with.take().or(container).or(cluster);
        }
    }

    /// The resource of this stack that a provider node connects to: what its `cluster` refers to.
    fn cluster(&self, node: &Node) -> Option<Urn> {
        provider_type(&node.kind)?;
        let cluster = node.properties.template.get("cluster")?;
        // A component's map of a cluster names more than the cluster; its endpoint is the cluster's own.
        let endpoint = |mention: &Mention| {
            let mut reference = mention.reference.clone();
            reference.path.push(Access::Key(Arc::from("endpoint")));
            self.names.resources(&reference)
        };
        cluster.template.references().iter().flat_map(endpoint).next()
    }

    fn check_outputs(&mut self, outputs: &Vec<(Arc<str>, Located, bool)>) {
        let known: HashMap<&Urn, Known> = self
            .nodes
            .iter()
            .map(|n| {
                (
                    &n.urn,
                    super::names::unmade(&n.address, Value::unknown(&n.address), &n.schema),
                )
            })
            .collect();
        let look = |urn: &Urn| known.get(urn).cloned();
        let view = View::new(&self.names, None, &look, self.inputs.digests);
        for (name, value, _) in outputs {
            if let Err(errors) = value.template.evaluate(&view) {
                self.problems.extend(errors.into_iter().map(|e| {
                    let problem =
                        Diagnostic::error(e.span.or(value.span), format!("output `{name}`: {}", e.message));
                    Diagnostic {
                        hint: e.hint,
                        ..problem
                    }
                }));
            }
        }
    }
}

/// The one kind of the same name, whatever its module is called: `kubernetes:v1:Pod` for `kubernetes:core/v1:Pod`.
fn namesake<'a>(kind: &str, candidates: &'a [String]) -> Option<&'a String> {
    let (provider, name) = (kind.split(':').next()?, kind.rsplit(':').next()?);
    let mut same = candidates.iter().filter(|candidate| {
        candidate.split(':').next() == Some(provider)
            && candidate
                .rsplit(':')
                .next()
                .is_some_and(|other| other.eq_ignore_ascii_case(name))
    });
    match (same.next(), same.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// A provider's problem, at its place in the source.
fn place(node: &Node, problem: Problem) -> Diagnostic {
    let at = |path: &Path| node.properties.template.at(path).cloned();
    let whole = problem.path.segments().is_empty();
    let mut span = node.span;
    if !whole {
        let mut path = problem.path.clone();
        loop {
            if let Some(found) = at(&path) {
                let exact = path == problem.path;
                let key = exact && problem.message.starts_with("unknown property");
                span = if key {
                    found.key_span.or(found.span)
                } else {
                    found.span
                };
                span = span.or(node.span);
                break;
            }
            let shorter: Path = path
                .segments()
                .iter()
                .take(path.segments().len().saturating_sub(1))
                .cloned()
                .collect();
            if shorter.segments().is_empty() {
                break;
            }
            path = shorter;
        }
    }
    let message = if whole || span == node.span {
        format!("{} (`{}`)", problem.message, node.address)
    } else {
        problem.message
    };
    Diagnostic {
        hint: problem.hint,
        ..Diagnostic::error(span, message)
    }
}
