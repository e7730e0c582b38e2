//! The `cel` crate as an oracle, for what both know: no names beyond `config`, no mixed arithmetic, no `null` maps.

use proptest::prelude::*;

use super::*;

fn bools(ints: BoxedStrategy<String>, texts: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let order = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        (ints.clone(), order.clone(), ints.clone()).prop_map(|(a, o, b)| format!("({a}) {o} ({b})")),
        (texts.clone(), order, texts.clone()).prop_map(|(a, o, b)| format!("({a}) {o} ({b})")),
        (ints.clone(), ints.clone(), ints.clone()).prop_map(|(a, b, c)| format!("({a}) in [{b}, {c}]")),
        (texts.clone(), texts.clone()).prop_map(|(a, b)| format!("({a}).startsWith({b})")),
        (texts.clone(), texts).prop_map(|(a, b)| format!("({a}).contains({b})")),
        (ints.clone(), ints.clone(), ints.clone())
            .prop_map(|(a, b, c)| format!("[{a}, {b}].all(x, x < ({c}))")),
        (ints.clone(), ints.clone(), ints).prop_map(|(a, b, c)| format!("[{a}, {b}].exists(x, x == ({c}))")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
    .boxed()
}

fn texts() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        "[abé]{0,3}".prop_map(|t| format!("'{t}'")),
        Just("config.name".to_owned())
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), inner).prop_map(|(a, b)| format!("{a} + {b}"))
    })
    .boxed()
}

fn ints() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (-9_i64..9).prop_map(|n| n.to_string()),
        Just("config.count".to_owned()),
        Just("9223372036854775807".to_owned()),
        texts().prop_map(|t| format!("size({t})")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a}) {o} ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}][1]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'a': {a}, 'b': {b}}}.a")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}].map(x, x + ({b}))[0]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("size([{a}].filter(x, x < ({b})))")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a}) < ({b}) ? ({b}) : ({c})")),
        ]
    })
    .boxed()
}

/// What the oracle answers, in epid's words; nothing where it fails.
fn oracle(text: &str) -> Option<Value> {
    let program = cel::Program::compile(text).ok()?;
    let mut context = cel::Context::default();
    let config: std::collections::HashMap<String, cel::Value> = [
        ("name".to_owned(), "shop".into()),
        ("count".to_owned(), cel::Value::Int(3)),
    ]
    .into();
    context.add_variable_from_value("config", config);
    Some(match program.execute(&context).ok()? {
        cel::Value::Int(n) => Value::Int(n),
        cel::Value::UInt(n) => Value::Int(i64::try_from(n).ok()?),
        cel::Value::Bool(b) => Value::Bool(b),
        cel::Value::String(text) => Value::str(&text),
        other => panic!("{text} gave the oracle {other:?}"),
    })
}

fn ours(text: &str) -> Option<Value> {
    Expression::parse(text).unwrap().evaluate(&World::new()).ok()
}

proptest! {
    #[test]
    fn both_say_the_same(text in prop_oneof![ints(), texts(), bools(ints(), texts())]) {
        prop_assert_eq!(ours(&text), oracle(&text), "{}", text);
    }
}

#[test]
fn the_oracle_answers() {
    assert_eq!(
        oracle("size('a' + config.name) * 2 - config.count"),
        Some(Value::Int(7))
    );
    assert_eq!(
        oracle("[1, 2].exists(x, x == 2) && 'ab'.contains('b')"),
        Some(Value::Bool(true))
    );
    assert_eq!(oracle("9223372036854775807 + 1"), None);
}
