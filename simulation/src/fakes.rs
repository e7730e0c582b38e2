//! Random programs for the fake cloud, and random edits of them: the strategies of `epid-fake`, drawn from a seed.

use epid_fake::programs::{Specs, edit, edited, large_specs, render, specs};
use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::machine::Failed;

/// How many resources a large program has at least.
const MANY: usize = 100;

/// A program, and the same after some edits, as stack files.
///
/// # Errors
/// Where nothing can be drawn, or written.
pub fn pair(random: &mut Rng) -> Result<(String, String), Failed> {
    let large = random.u8(..5) == 0;
    let first: Specs = if large {
        draw(random, &large_specs(MANY))?
    } else {
        draw(random, &specs(14))?
    };
    let most = if large { 30 } else { 6 };
    let edits = draw(random, &vec(edit(), 1..most))?;
    let second = edited(&first, &edits);
    Ok((text(&first)?, text(&second)?))
}

fn draw<S: Strategy>(random: &mut Rng, strategy: &S) -> Result<S::Value, Failed> {
    let seed: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(32).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = strategy.new_tree(&mut runner);
    Ok(tree.map_err(|why| why.to_string())?.current())
}

/// The stack file of a program.
fn text(specs: &Specs) -> Result<String, Failed> {
    let all: toml::Table = serde_json::from_str(&render(specs))?;
    let (mut resources, mut providers) = (toml::Table::new(), toml::Table::new());
    for (name, mut body) in all {
        if name == "$providers" {
            providers = toml::Table::try_from(body)?;
            continue;
        }
        if let Some(toml::Value::String(kind)) = body.get_mut("type")
            && !kind.contains(':')
        {
            *kind = format!("fake:thing:{kind}");
        }
        resources.insert(name, body);
    }
    for (_, provider) in &mut providers {
        if let toml::Value::Table(provider) = provider {
            provider.insert("type".to_owned(), "fake".into());
        }
    }
    let tables = [("resources", resources), ("providers", providers)];
    let file: toml::Table = tables
        .map(|(name, table)| (name.to_owned(), table.into()))
        .into_iter()
        .collect();
    Ok(toml::to_string(&file)?)
}
