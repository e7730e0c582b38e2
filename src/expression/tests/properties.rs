//! What holds of any text.

use proptest::prelude::*;

use super::*;
use crate::expression::parser::parse;
use crate::expression::syntax::{Fold, Node, Syntax};

/// Writes a tree with every bracket.
fn printed(node: &Node, locals: usize) -> String {
    let all = |nodes: &[Node], locals| {
        let parts: Vec<String> = nodes.iter().map(|n| printed(n, locals)).collect();
        parts.join(", ")
    };
    let one = |node: &Node| printed(node, locals);
    match &node.syntax {
        Syntax::Literal(Value::Str(text)) => lexer::quoted(text),
        Syntax::Literal(Value::Float(n)) => format!("({n:?})"),
        Syntax::Literal(value) => format!("({value})"),
        Syntax::Path(reference) => reference.to_string(),
        Syntax::Local(place) => format!("v{place}"),
        Syntax::Select(of, name) => format!("({}).`{name}`", one(of)),
        Syntax::Index(of, index) => format!("({})[{}]", one(of), one(index)),
        Syntax::List(items) => format!("[{}]", all(items, locals)),
        Syntax::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(k, v)| format!("{}: {}", one(k), one(v)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Syntax::Not(of) => format!("!({})", one(of)),
        Syntax::Negate(of) => format!("-({})", one(of)),
        Syntax::Binary(operator, a, b) => format!("({}) {} ({})", one(a), operator.sign(), one(b)),
        Syntax::Conditional(parts) => format!(
            "({}) ? ({}) : ({})",
            one(&parts[0]),
            one(&parts[1]),
            one(&parts[2])
        ),
        Syntax::Has(of) => format!("has({})", one(of)),
        Syntax::Fold { fold, over, body } => {
            let name = match fold {
                Fold::All => "all",
                Fold::Exists => "exists",
                Fold::ExistsOne => "exists_one",
                Fold::Map => "map",
                Fold::Filter => "filter",
            };
            format!("({}).{name}(v{locals}, {})", one(over), all(body, locals + 1))
        }
        Syntax::Call(function, arguments) => {
            match (function.usage.split_once('.'), arguments.split_first()) {
                (Some(("text" | "list", _)), Some((receiver, rest))) => {
                    format!("({}).{}({})", one(receiver), function.name, all(rest, locals))
                }
                _ => format!("{}({})", function.name, all(arguments, locals)),
            }
        }
    }
}

/// Expressions that parse; not all of them have a value.
pub(super) fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0_i64..100).prop_map(|n| n.to_string()),
        Just("-5".to_owned()),
        Just("1.5".to_owned()),
        "[a-z \\\\$]{0,4}".prop_map(|t| format!("'{}'", t.replace('\\', "\\\\"))),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("config.name".to_owned()),
        Just("config.list[0]".to_owned()),
        Just("`subnet[\"a\"]`.id".to_owned()),
        Just("secret.n".to_owned()),
        Just("later.x".to_owned()),
        Just("vpc.open".to_owned()),
        Just("namespace['id']".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec![
            "||", "&&", "==", "!=", "<", "<=", ">", ">=", " in ", "+", "-", "*", "/", "%",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("{a} {o} ({b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) ? {b} : {c}")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'k': {a}, 'l': {b}}}.l")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}].map(x, [x, {b}])[0]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[1, {a}].all(x, x != {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}].filter(y, ({b}) == y)")),
            inner.clone().prop_map(|a| format!("size([{a}])")),
            inner.clone().prop_map(|a| format!("string({a}).trim()")),
            inner.prop_map(|a| format!("has({{'a': {a}}}.a)")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
        drop(Expression::parse(&text).map(|e| e.evaluate(&World::new())));
        drop(Template::parse_text(&text).map(|t| t.evaluate(&World::new())));
        drop(Template::parse_text(&format!("a${{{text}")));
    }

    #[test]
    fn signs_in_any_order_are_parsed_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "-", "!", "+", "==", "in", "a", "`b/c`", "1", "'s'",
            "map(", "has(", "x,", "size(", "base64", "\"", "${", "$${",
        ]), 0..24)
    ) {
        let text = tokens.concat();
        drop(Expression::parse(&text).map(|e| e.evaluate(&World::new())));
        drop(Template::parse_text(&text));
    }

    #[test]
    fn a_broken_expression_is_refused_with_places_in_it(
        text in any_expression(), at in any::<prop::sample::Index>(), with in "\\PC{0,2}",
    ) {
        let mut broken: Vec<char> = text.chars().collect();
        let at = at.index(broken.len());
        broken.splice(at..=at, with.chars());
        let broken: String = broken.into_iter().collect();
        match Expression::parse(&broken) {
            Ok(expression) => drop(expression.evaluate(&World::new())),
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(error.range.start <= error.range.end && error.range.end as usize <= broken.len());
                    prop_assert!(broken.get(error.range.start as usize..error.range.end as usize).is_some());
                }
            }
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same(text in any_expression()) {
        let Ok(tree) = parse(&text) else { return Ok(()) };
        let once = printed(&tree, 0);
        let Ok(again) = parse(&once) else {
            return Err(TestCaseError::fail(format!("{text} was printed as {once}")));
        };
        prop_assert_eq!(printed(&again, 0), once);
        let evaluated = |text: &str| Expression::parse(text).unwrap().evaluate(&World::new()).map_err(|e| e.message);
        prop_assert_eq!(evaluated(&text), evaluated(&printed(&tree, 0)));
    }

    #[test]
    fn places_of_references_hold_them(text in any_expression()) {
        let expression = Expression::parse(&text).unwrap();
        for reference in expression.references() {
            let range = reference.range.start as usize..reference.range.end as usize;
            let part = Expression::parse(text.get(range).unwrap()).unwrap();
            prop_assert_eq!(&part.references()[0].root, &reference.root);
            prop_assert_eq!(&part.references()[0].path, &reference.path);
        }
    }

    #[test]
    fn a_value_without_the_mark_never_depends_on_a_secret(text in any_expression()) {
        // Two worlds that differ in secrets only give values that differ in secrets only.
        let expression = Expression::parse(&text).unwrap();
        let other = World(World::new().0.with("secret", Value::map([("n", Value::Int(1234))]).into_secret()));
        if let (Ok(a), Ok(b)) = (expression.evaluate(&World::new()), expression.evaluate(&other)) {
            prop_assert_eq!(a.to_string(), b.to_string());
        }
    }

    #[test]
    fn what_is_known_early_is_what_comes_out(text in any_expression(), x in 0_i64..9) {
        // A value that was known before the run is the same once everything is.
        let expression = Expression::parse(&text).unwrap();
        let later = World(
            World::new()
                .0
                .with("later", Value::map([("x", Value::Int(x))]))
                .with("vpc", Value::map([("open", Value::Bool(x > 4)), ("known", Value::Int(1))])),
        );
        if let (Ok(before), Ok(after)) = (expression.evaluate(&World::new()), expression.evaluate(&later)) {
            prop_assert!(agrees(&before, &after), "{} became {}", before, after);
        }
    }

    #[test]
    fn any_text_survives_the_disk(texts in prop::collection::vec("[a${}'\"]{0,6}", 0..5)) {
        let pieces = texts.iter().enumerate().map(|(at, text)| if at % 2 == 0 {
            Piece::Literal(Arc::from(text.as_str()))
        } else {
            Piece::Expression(Expression::parse("config.count").unwrap())
        });
        let template = Template::Text(pieces.collect());
        let read = Template::from_program_value(&template.to_program_value()).unwrap();
        prop_assert_eq!(read.evaluate(&World::new()), template.evaluate(&World::new()));
    }
}

fn agrees(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Unknown(_), _) => true,
        (Value::Secret(before), _) => agrees(before, after.expose()),
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| agrees(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| agrees(v, w)))
        }
        (before, after) => before == after,
    }
}
