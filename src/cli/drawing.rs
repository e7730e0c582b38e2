//! A stack drawn: DOT, Mermaid, or a picture made here.

use std::collections::{BTreeMap, HashMap};

use epid_provider::Urn;

use crate::graph::{Node, ResourceGraph};

/// What an arrow points at: dependents point to what they need.
fn edges(graph: &ResourceGraph) -> Vec<(&Node, &Node)> {
    let mut edges = Vec::new();
    for node in graph.nodes() {
        let mut seen: Vec<&Urn> = Vec::new();
        for edge in &node.edges {
            if let Some(to) = graph.node(&edge.to).filter(|_| !seen.contains(&&edge.to)) {
                seen.push(&edge.to);
                edges.push((node, to));
            }
        }
    }
    edges
}

fn numbers(graph: &ResourceGraph) -> HashMap<&Urn, usize> {
    graph
        .nodes()
        .enumerate()
        .map(|(at, node)| (&node.urn, at))
        .collect()
}

/// Nodes by the component they are in; the empty name is none.
fn grouped(graph: &ResourceGraph) -> BTreeMap<String, Vec<&Node>> {
    let mut groups: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
    for node in graph.nodes() {
        let group = node.address.rsplit_once('/').map_or("", |(group, _)| group);
        groups.entry(group.to_owned()).or_default().push(node);
    }
    groups
}

fn short(node: &Node) -> &str {
    node.address
        .rsplit_once('/')
        .map_or(&*node.address, |(_, name)| name)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Graphviz.
pub(super) fn dot(graph: &ResourceGraph) -> String {
    let number = numbers(graph);
    let of = |node: &Node| number.get(&node.urn).copied().unwrap_or_default();
    let mut out = String::from(
        "digraph epid {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
    );
    for (at, (group, nodes)) in grouped(graph).into_iter().enumerate() {
        if !group.is_empty() {
            out.push_str(&format!(
                "  subgraph cluster_{at} {{\n    label={};\n",
                quoted(&group)
            ));
        }
        for node in nodes {
            let label = quoted(&format!("{}\n{}", short(node), node.kind)).replace('\n', "\\n");
            out.push_str(&format!("    n{} [label={label}];\n", of(node)));
        }
        if !group.is_empty() {
            out.push_str("  }\n");
        }
    }
    for (from, to) in edges(graph) {
        out.push_str(&format!("  n{} -> n{};\n", of(from), of(to)));
    }
    out.push_str("}\n");
    out
}

/// A Mermaid flowchart.
pub(super) fn mermaid(graph: &ResourceGraph) -> String {
    let number = numbers(graph);
    let of = |node: &Node| number.get(&node.urn).copied().unwrap_or_default();
    let text = |text: &str| text.replace('"', "#quot;").replace('`', "#96;");
    let mut out = String::from("flowchart LR\n");
    for (at, (group, nodes)) in grouped(graph).into_iter().enumerate() {
        if !group.is_empty() {
            out.push_str(&format!("  subgraph g{at}[\"{}\"]\n", text(&group)));
        }
        for node in nodes {
            out.push_str(&format!(
                "    n{}[\"{}<br/><small>{}</small>\"]\n",
                of(node),
                text(short(node)),
                text(node.kind.as_str())
            ));
        }
        if !group.is_empty() {
            out.push_str("  end\n");
        }
    }
    for (from, to) in edges(graph) {
        out.push_str(&format!("  n{} --> n{}\n", of(from), of(to)));
    }
    out
}

const BOX: (usize, usize) = (250, 44);
const GAP: (usize, usize) = (70, 16);

/// A picture: what needs nothing stands left, what needs it right of it.
pub(super) fn svg(graph: &ResourceGraph) -> String {
    let mut column: HashMap<&Urn, usize> = HashMap::new();
    let mut rows: Vec<Vec<&Node>> = Vec::new();
    for node in graph.nodes() {
        let at = node
            .edges
            .iter()
            .filter_map(|e| column.get(&e.to))
            .map(|c| c + 1)
            .max()
            .unwrap_or(0);
        column.insert(&node.urn, at);
        if rows.len() <= at {
            rows.resize(at + 1, Vec::new());
        }
        if let Some(row) = rows.get_mut(at) {
            row.push(node);
        }
    }
    let mut place: HashMap<&Urn, (usize, usize)> = HashMap::new();
    for (x, nodes) in rows.iter().enumerate() {
        for (y, node) in nodes.iter().enumerate() {
            place.insert(&node.urn, (20 + x * (BOX.0 + GAP.0), 20 + y * (BOX.1 + GAP.1)));
        }
    }
    let width = 20 + rows.len() * (BOX.0 + GAP.0);
    let height = 20 + rows.iter().map(Vec::len).max().unwrap_or(0) * (BOX.1 + GAP.1);
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (from, to) in edges(graph) {
        let (Some(from), Some(to)) = (place.get(&from.urn), place.get(&to.urn)) else {
            continue;
        };
        let (x1, y1) = (to.0 + BOX.0, to.1 + BOX.1 / 2);
        let (x2, y2) = (from.0, from.1 + BOX.1 / 2);
        let (c1, c2) = (x1 + GAP.0 / 2, x2.saturating_sub(GAP.0 / 2));
        out.push_str(&format!(
            "<path d=\"M{x1} {y1} C{c1} {y1} {c2} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#9aa4b2\"/>\n"
        ));
    }
    for node in graph.nodes() {
        let Some((x, y)) = place.get(&node.urn) else {
            continue;
        };
        let fill = match node.kind.provider() {
            "aws" => "#fff3e0",
            "kubernetes" => "#e3f0ff",
            _ => "#f2f2f4",
        };
        let fit = |text: &str, limit: usize| super::ui::cut(text, limit);
        out.push_str(&format!("<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\" fill=\"{fill}\" stroke=\"#5b6675\"/>\
             <text x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" fill=\"#5b6675\" font-size=\"10\">{}</text></g>\n",
            escape(node.urn.as_str()),
            BOX.0,
            BOX.1,
            x + 10,
            y + 19,
            escape(&fit(&node.address, 36)),
            x + 10,
            y + 34,
            escape(&fit(node.kind.as_str(), 44)),
        ));
    }
    out.push_str("</svg>\n");
    out
}
