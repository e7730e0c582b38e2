//! What the language promises, case by case.

mod oracle;
mod properties;

use std::sync::Arc;

use epid_provider::{Map, Value};

use super::*;

/// A scope with something of everything.
struct World(Map);

impl World {
    fn new() -> Self {
        let json: Value = serde_json::from_str(
            r#"{
                "config": {"name": "shop", "count": 3, "ratio": 0.5, "on": true, "list": ["a", "b"], "none": null},
                "namespace": {"id": "ns-1"},
                "curator/deployment": {"metadata": {"name": "cur"}},
                "subnet": {"a": {"id": "s-a"}, "b": {"id": "s-b"}},
                "subnet[\"a\"]": {"id": "s-a"}
            }"#,
        )
        .unwrap();
        let Value::Map(map) = json else { panic!() };
        let secret = Value::map([("password", Value::str("hunter2")), ("n", Value::Int(7))]).into_secret();
        let partial = Value::map([("known", Value::Int(1)), ("open", Value::unknown("vpc.id"))]);
        let opaque = Value::Opaque(Arc::from("digest"));
        Self(
            map.with("secret", secret)
                .with("vpc", partial)
                .with("later", Value::unknown("cluster"))
                .with("opaque", opaque)
                .with("flag", Value::Bool(true).into_secret()),
        )
    }
}

impl Scope for World {
    fn lookup(&self, root: &str, path: &[Access]) -> Result<Option<Value>, String> {
        self.0.lookup(root, path)
    }

    fn candidates(&self, root: Option<&str>) -> Vec<String> {
        self.0.candidates(root)
    }

    fn digest(&self, bytes: &[u8]) -> Option<String> {
        Some(format!(
            "k{:09x}",
            bytes.iter().map(|b| u64::from(*b)).sum::<u64>()
        ))
    }
}

/// The value, a secret as `secret(…)`; or what is wrong, its place and the hint.
fn told(text: &str) -> String {
    let problem = |e: &ExpressionError| {
        let hint = e.hint.as_ref().map_or(String::new(), |h| format!(" ({h})"));
        format!("{}..{} {}{hint}", e.range.start, e.range.end, e.message)
    };
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(errors) => return errors.iter().map(problem).collect::<Vec<_>>().join("; "),
    };
    match expression.evaluate(&World::new()) {
        Ok(Value::Secret(inner)) => format!("secret({inner})"),
        Ok(value) => value.to_string(),
        Err(e) => problem(&e),
    }
}

fn table(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(text, expected)| told(text) != *expected)
        .map(|(text, expected)| format!("{text}\n  expected {expected}\n  found    {}", told(text)))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn literals() {
    table(&[
        ("1", "1"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x1F", "31"),
        ("7u", "7"),
        ("1.5e2", "150"),
        (".5", "0.5"),
        ("'a\\n\\u00e9\\x41\\101'", "\"a\\néAA\""),
        ("r'a\\n'", "\"a\\\\n\""),
        ("'''it's\n'''", "\"it's\\n\""),
        ("\"a\" // said so", "\"a\""),
        ("[1, 'a', null, true,]", "[1, \"a\", null, true]"),
        ("{'b': 1, 'a': [2]}", "{a: [2], b: 1}"),
    ]);
}

#[test]
fn operators_bind_as_in_cel() {
    table(&[
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("(1 + 2) * 3", "9"),
        ("!true || true && false", "false"),
        ("1 < 2 == true", "true"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("--1", "1"),
        ("1.5 + 2.0", "3.5"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1, 2]"),
        (
            "1 == 1.0 && 2 > 1.5 && 'a' < 'b' && 9007199254740993 != 9007199254740992.0",
            "true",
        ),
        ("1 == '1'", "false"),
        ("2 in [1, 2] && 'a' in {'a': 1} && !('b' in {'a': 1})", "true"),
        ("{'a': [1, 2]} == {'a': [1, 2.0]}", "true"),
    ]);
}

#[test]
fn names() {
    table(&[
        ("config.name", "\"shop\""),
        (" config . name ", "\"shop\""),
        ("config['name']", "\"shop\""),
        ("config.list[1]", "\"b\""),
        ("config.list[config.count - 2]", "\"b\""),
        ("namespace.id + '!'", "\"ns-1!\""),
        ("`curator/deployment`.metadata.name", "\"cur\""),
        ("`subnet[\"a\"]`.id", "\"s-a\""),
        ("subnet['b'].id", "\"s-b\""),
        ("subnet.map(key, subnet[key].id)", "[\"s-a\", \"s-b\"]"),
        ("{'in': 1}.in", "1"),
    ]);
}

#[test]
fn macros() {
    table(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].exists(x, x > 2)", "true"),
        ("[1, 2, 3].exists_one(x, x > 1)", "false"),
        ("[1, 2, 3].filter(x, x != 2)", "[1, 3]"),
        ("[1, 2, 3].map(x, x * x)", "[1, 4, 9]"),
        ("[1, 2, 3].map(x, x > 1, x * 10)", "[20, 30]"),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", "[[3, 4], [6, 8]]"),
        ("[1, 2].map(x, [x].map(x, x + 1)[0] + x)", "[3, 5]"),
        ("{'b': 1, 'a': 2}.map(k, k)", "[\"a\", \"b\"]"),
        (
            "has(config.name) && !has(config.other) && !has(config.none)",
            "true",
        ),
        ("has({'a': 1}.a)", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
    ]);
}

#[test]
fn functions() {
    table(&[
        ("size('añb') + [1, 2].size() + size({'a': 1})", "6"),
        (
            "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
            "true",
        ),
        ("'v1.2'.matches('^v[0-9]+')", "true"),
        (
            "string(1) + string(1.5) + string(true) + string('x')",
            "\"11.5truex\"",
        ),
        ("int('42') + int(1.9) + int(-1.9)", "42"),
        ("double('1.5') + double(1)", "2.5"),
        ("bool('true') && !bool('f')", "true"),
        (
            "[1, 1.5, 'a', true, null, [], {}].map(x, type(x)).join(' ')",
            "\"integer number string boolean null list map\"",
        ),
        ("' Ab '.trim().lowerAscii() + 'c'.upperAscii()", "\"abC\""),
        ("'a,b,c'.split(',')", "[\"a\", \"b\", \"c\"]"),
        ("'a,b,c'.split(',', 2)", "[\"a\", \"b,c\"]"),
        ("'ab'.split('')", "[\"a\", \"b\"]"),
        ("['a', 'b'].join('-') + ['a', 'b'].join()", "\"a-bab\""),
        (
            "'aXbX'.replace('X', '') + 'aXbX'.replace('X', '', 1)",
            "\"ababX\"",
        ),
        (
            "'tacocat'.substring(4) + 'tacocat'.substring(0, 4)",
            "\"cattaco\"",
        ),
        ("'tacocat'.indexOf('c') * 10 + 'tacocat'.lastIndexOf('c')", "24"),
        ("'tacocat'.indexOf('x') + 'tacocat'.indexOf('c', 3)", "3"),
        ("base64.decode(base64.encode('hé'))", "\"hé\""),
        (
            "json.encode({'b': [1, null], 'a': 'x'})",
            "\"{\\\"a\\\":\\\"x\\\",\\\"b\\\":[1,null]}\"",
        ),
        ("json.decode('{\"a\": [1, 2.5]}').a[1]", "2.5"),
        ("cidrSubnet('10.0.0.0/16', 8, 3)", "\"10.0.3.0/24\""),
        ("cidrHost('10.0.0.0/16', -2)", "\"10.0.255.254\""),
        (
            "contentHash('x') == contentHash('x') && contentHash('x') != contentHash(['x'])",
            "true",
        ),
        ("size(contentHash({'a': 1}))", "10"),
    ]);
}

#[test]
fn unknown_goes_no_further_than_it_must() {
    table(&[
        ("later.endpoint", "(known after cluster)"),
        ("later ? 1 : 2", "(known after cluster)"),
        ("false && later", "false"),
        ("later && false", "false"),
        ("true || later", "true"),
        ("later || true", "true"),
        ("later && true", "(known after cluster)"),
        ("vpc.known", "1"),
        ("{'a': later, 'b': 2}.b", "2"),
        ("[later, 2][1]", "2"),
        ("[later, 2]", "[(known after cluster), 2]"),
        ("[later] + [2]", "[(known after cluster), 2]"),
        ("[later, 2] == [1, 3]", "false"),
        ("[later, 2] == [1, 2]", "(known after cluster)"),
        ("size([later, 2])", "2"),
        ("2 in [later, 2]", "true"),
        ("3 in [later, 2]", "(known after cluster)"),
        ("[1, later].exists(x, x == 1)", "true"),
        ("[1, later].all(x, x == 2)", "false"),
        ("[1, later].all(x, x == 1)", "(known after cluster)"),
        ("[1, later].filter(x, x == 1)", "(known after cluster)"),
        ("[1, later].map(x, x)", "[1, (known after cluster)]"),
        ("[later].join(',')", "(known after cluster)"),
        ("later + 1", "(known after cluster)"),
        ("has(later.x)", "(known after cluster)"),
        ("config.list[later]", "(known after cluster)"),
        ("{later: 1}", "(known after cluster)"),
        ("json.encode(vpc)", "(known after vpc.id)"),
        ("contentHash(vpc)", "(known after vpc.id)"),
        ("later.all(x, x)", "(known after cluster)"),
    ]);
}

#[test]
fn a_secret_stays_one() {
    table(&[
        ("secret.password", "secret(\"hunter2\")"),
        ("secret.n + 1", "secret(8)"),
        ("'x' + secret.password", "secret(\"xhunter2\")"),
        ("flag ? 1 : 2", "secret(1)"),
        ("flag && true", "secret(true)"),
        ("flag && false", "false"),
        ("!flag", "secret(false)"),
        ("secret.password == 'x'", "secret(false)"),
        ("[secret.password] == ['x']", "secret(false)"),
        ("[secret.password, 1][1]", "1"),
        ("[secret.password, 1]", "[(secret), 1]"),
        ("[secret.password].join(',')", "secret(\"hunter2\")"),
        ("size(secret.password)", "secret(7)"),
        ("size([secret.password])", "1"),
        ("[1, 2].filter(x, flag)", "secret([1, 2])"),
        ("['hunter2'].map(x, x == secret.password)", "[(secret)]"),
        ("[1].exists(x, x == secret.n)", "secret(false)"),
        (
            "json.encode({'p': secret.password})",
            "secret(\"{\\\"p\\\":\\\"hunter2\\\"}\")",
        ),
        ("config.list[secret.n - 7]", "secret(\"a\")"),
        ("flag ? [secret.n] : []", "secret([7])"),
        ("opaque", "(secret)"),
        ("opaque + 'x'", "secret((known after apply))"),
        ("[opaque, 1][1]", "1"),
        ("secret.n + later", "secret((known after cluster))"),
        ("later ? secret.n : 1", "(known after cluster)"),
        ("[secret.n].map(x, string(x))", "[(secret)]"),
        ("secret.map(k, k)", "secret([\"n\", \"password\"])"),
    ]);
    let hashed = told("contentHash(secret.password)");
    assert!(hashed.starts_with("\"k") && hashed.len() == 12, "{hashed}");
    assert_ne!(hashed, told("contentHash('hunter2')"));
    assert_eq!(
        Expression::parse("contentHash(p)")
            .unwrap()
            .evaluate(&Map::default().with("p", Value::Int(1).into_secret())),
        Ok(Value::unknown(""))
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    table(&[
        ("", "0..0 an expression is missing"),
        ("1 +", "2..3 the expression ends too early"),
        ("1 2", "2..3 unexpected number"),
        ("a and b", "2..5 unexpected `and` (`&&` is “and”)"),
        ("a = 1", "2..3 unexpected `=` (`==` compares)"),
        (
            "a & b # c",
            "2..3 unexpected `&` (`&&` is “and”); 6..7 unexpected `#`",
        ),
        ("'abc", "0..4 this text is not closed (it ends with ')"),
        (
            "b'abc'",
            "0..6 values hold no bytes (write a text, or its base64 form in a text)",
        ),
        (
            "'\\q'",
            "1..3 unknown escape in a text (a backslash itself is `\\\\`; in r\"…\" it means nothing)",
        ),
        ("12abc", "0..5 `12abc` is not a number"),
        (
            "9223372036854775808",
            "0..19 this number is too large for a whole number of 64 bits",
        ),
        (
            "len([])",
            "0..3 there is no function `len` (did you mean `size(x)`?)",
        ),
        (
            "'a'.startswith('a')",
            "4..14 there is no function `startswith` (did you mean `text.startsWith(part)`?)",
        ),
        (
            "base64.encod('a') + size()",
            "0..12 there is no function `base64.encod` (did you mean `base64.encode(text)`?); 20..26 `size` is given the wrong number of values (write `size(x)`)",
        ),
        (
            "[1].map(1, 2)",
            "4..7 `map` names what it goes through first (write `list.map(x, …)`)",
        ),
        (
            "has(config)",
            "0..11 `has` takes one selection (`has(config.name)`)",
        ),
        (
            "confg.name",
            "0..10 `confg` is not declared (did you mean `config`?)",
        ),
        ("config.nam", "0..10 `config` has no `nam` (did you mean `name`?)"),
        (
            "config.zzzzzz",
            "0..13 `config` has no `zzzzzz` (declare it: [config.zzzzzz])",
        ),
        (
            "config.name.first",
            "0..17 `config.name` is a string, which has no `first`",
        ),
        (
            "config.list[2]",
            "0..14 `config.list` has 2 items, there is no [2]",
        ),
        ("[1][1]", "0..6 the list has 1 items, there is no [1]"),
        (
            "{'name': 1}.nam",
            "0..15 the map has no `nam` (did you mean `name`?)",
        ),
        (
            "each.key",
            "0..8 `each` is not declared (`each` is there where `forEach` is set)",
        ),
        (
            "false && confg.x == 1 || confg.x",
            "25..32 `confg` is not declared (did you mean `config`?)",
        ),
        (
            "1 + '1'",
            "0..7 `+` takes two integers, two numbers, two strings or two lists, not an integer and a string (string(…) makes a string of it)",
        ),
        ("1 / 0", "0..5 division by zero"),
        (
            "9223372036854775807 + 1",
            "0..23 the result is too large for a whole number of 64 bits",
        ),
        (
            "1 ? 2 : 3",
            "0..1 the condition of `?` is an integer, not a boolean",
        ),
        ("{'a': 1, 'a': 2}", "9..12 the key `a` stands here twice"),
        (
            "{1: 2}",
            "1..2 a key is a string, not an integer (string(…) converts it)",
        ),
        ("int('abc')", "0..10 `int`: the text is not a whole number: `abc`"),
        (
            "string([])",
            "0..10 `string`: takes a string, a number or a boolean, not a list (json.encode(…) makes text of lists and maps)",
        ),
        (
            "'a' in 'abc'",
            "0..12 `in` looks into lists and maps, not into a string (write `text.contains(…)`)",
        ),
    ]);
}

#[test]
fn errors_do_not_tell_secrets() {
    for text in [
        "int(secret.password)",
        "secret.passwort",
        "{'a': 1}[secret.password]",
        "config[secret.password]",
        "cidrHost(secret.password, 0)",
        "json.decode(secret.password)",
        "base64.decode('!' + secret.password)",
        "{secret.password: 1, 'hunter2': 2}",
        "'a'.matches('[' + secret.password)",
        "secret.password.hunter",
        "'abc'.substring(secret.n)",
    ] {
        let told = told(text);
        assert!(told.contains(' ') && !told.starts_with("secret("), "{told}");
        assert!(
            !told.contains("hunter2") && !told.contains('7') || text.contains("hunter"),
            "{told}"
        );
        assert!(!told.contains("`password`"), "{told}");
    }
}

#[test]
fn deep_and_long_input_is_refused() {
    let deep = |open: &str, inner: &str, close: &str, n: usize| {
        told(&format!("{}{inner}{}", open.repeat(n), close.repeat(n)))
    };
    let too_deep = |told: String| assert!(told.contains("deeper than 64 levels"), "{told}");
    too_deep(deep("(", "1", ")", 2000));
    too_deep(deep("[", "1", "]", 2000));
    too_deep(deep("!", "true", "", 4000));
    too_deep(deep("1+", "1", "", 1500));
    too_deep(deep("", "[]", "[0]", 1000));
    too_deep(deep("true?1:", "1", "", 500));
    too_deep(deep("''.map(x,", "x", ")", 300));
    assert_eq!(deep("(", "1", ")", 60), "1");
    assert!(told(&"a".repeat(5000)).contains("longer than 4 KiB"));
    assert!(told(&format!("config{}", ".a".repeat(1900))).contains("has no `a`"));
    let huge = format!("['{}']{}", "x".repeat(100), ".map(x, x + x)".repeat(40));
    assert!(told(&huge).contains("makes too much"));
}

#[test]
fn references_are_the_longest_static_paths() {
    let references = |text: &str| -> Vec<String> {
        let expression = Expression::parse(text).unwrap();
        let at = |r: &Reference| {
            text.get(r.range.start as usize..r.range.end as usize)
                .unwrap()
                .to_owned()
        };
        expression
            .references()
            .iter()
            .map(|r| format!("{r} <{}>", at(r)))
            .collect()
    };
    assert_eq!(
        references(
            "vpc.id + subnet [\"a\"].id + `a/b`.c[0].size() + xs.map(x, x.y + z.w[x])[0].q + base64.encode(k)"
        ),
        [
            "vpc.id <vpc.id>",
            "subnet.a.id <subnet [\"a\"].id>",
            "`a/b`.c[0] <`a/b`.c[0]>",
            "xs <xs>",
            "z.w <z.w>",
            "k <k>"
        ]
    );
    assert_eq!(
        references("has(a.b) ? c['x-y'] : [1][d.e]"),
        ["a.b <a.b>", "c[\"x-y\"] <c['x-y']>", "d.e <d.e>"]
    );
}

#[test]
fn a_reference_is_written_as_it_is_read() {
    for (address, names) in [
        ("vpc", vec!["id"]),
        ("subnet[\"a\"]", vec!["data", "tls.crt"]),
        ("in", vec!["true"]),
        ("a/b", vec!["x\"y\\z\n"]),
    ] {
        let built = Expression::reference(address, &names);
        let read = Expression::parse(built.text()).unwrap();
        assert_eq!(read.references(), built.references(), "{}", built.text());
    }
}

fn text(text: &str) -> Template {
    Template::parse_text(text).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn value_of(template: &Template) -> String {
    match template.evaluate(&World::new()) {
        Ok(Value::Secret(inner)) => format!("secret({inner})"),
        Ok(value) => value.to_string(),
        Err(errors) => errors
            .iter()
            .map(|e| format!("{} {}", e.path, e.message))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

#[test]
fn text_holds_expressions() {
    for (source, expected) in [
        ("plain", "\"plain\""),
        ("", "\"\""),
        ("${config.count}", "3"),
        ("n-${config.count}-${config.on}", "\"n-3-true\""),
        ("$${config.count}", "\"${config.count}\""),
        ("$$${config.count}", "\"$${config.count}\""),
        ("$ 5 { } $", "\"$ 5 { } $\""),
        ("${'$'}${config.count}", "\"$3\""),
        ("a${{'}': '}'}['}']}b", "\"a}b\""),
        ("${\"}\"}}", "\"}}\""),
        ("x${later}", "(known after cluster)"),
        ("x${secret.n}", "secret(\"x7\")"),
        ("x${secret.n}${later}", "secret((known after cluster))"),
        (
            "x${config.list}",
            " `config.list` is a list, which text cannot hold",
        ),
        (
            "x${config.none}",
            " `config.none` is null, which text cannot hold",
        ),
    ] {
        assert_eq!(value_of(&text(source)), expected, "{source}");
    }
}

#[test]
fn every_error_of_a_text_has_its_place() {
    let errors = Template::parse_text("é ${1 +} and ${len(x)} and ${'").unwrap_err();
    let told: Vec<String> = errors
        .iter()
        .map(|e| format!("{}..{} {}", e.range.start, e.range.end, e.message))
        .collect();
    assert_eq!(
        told,
        [
            "7..8 the expression ends too early",
            "16..19 there is no function `len`",
            "30..31 this text is not closed"
        ]
    );
    let open = Template::parse_text("a ${b").unwrap_err();
    assert_eq!(
        (open[0].range.clone(), open[0].message.as_str()),
        (2..4, "this `${` is not closed")
    );
}

#[test]
fn problems_of_values_have_their_place_in_the_source() {
    let place = |range: std::ops::Range<u32>| Span {
        source: SourceId(0),
        start: 100 + range.start,
        end: 100 + range.end,
    };
    let template = Template::parse_text_at("a-${config.nam}", &place).unwrap();
    let errors = template.evaluate(&World::new()).unwrap_err();
    assert_eq!((errors[0].span.start, errors[0].span.end), (104, 114));
    assert_eq!(template.references()[0].span, errors[0].span);
}

#[test]
fn a_template_survives_the_disk() {
    let templates = [
        text("a$${b} ${config.name}"),
        text("${'$'}${config.name}$"),
        text("${config.name}"),
        Template::Text(Arc::from([Piece::Expression(
            Expression::parse("config.count").unwrap(),
        )])),
        Template::Text(Arc::from([
            Piece::Literal(Arc::from("$")),
            Piece::Literal(Arc::from("{x}")),
        ])),
        Template::text("${not.an.expression} $${ $$${"),
        Template::from_value(&Value::str("${pw").into_secret()),
        Template::from_value(&Value::map([
            ("a", Value::list([Value::str("${"), Value::Null])),
            ("s", Value::str("$${x}").into_secret()),
        ])),
        Template::object([("z", text("${config.list}")), ("a", text("x${config.on}"))]),
        Template::list([text("${secret.n}"), Template::from_value(&Value::unknown("q"))]),
        Template::object::<&str, Template>([]),
    ];
    for template in templates {
        let written = template.to_program_value();
        let read = Template::from_program_value(&written).unwrap_or_else(|e| panic!("{template:?}: {e:?}"));
        assert_eq!(
            read.evaluate(&World::new()),
            template.evaluate(&World::new()),
            "{template:?}"
        );
        assert_eq!(read.to_program_value(), written, "{template:?}");
    }
    let smuggled = Value::str("${config.name}").into_secret();
    assert!(Template::from_program_value(&smuggled).is_err());
}

#[test]
fn values_take_the_place_of_names() {
    let each = |path: &[Access]| {
        let each: Value = serde_json::from_str(r#"{"key":"a","value":{"n":-1,"t":["x\"${"]}}"#).unwrap();
        resolve(&each, path)
    };
    let put = |source: &str| text(source).with_values("each", &each).unwrap();
    assert_eq!(
        put("${each.value}").evaluate(&World::new()).unwrap().to_string(),
        r#"{n: -1, t: ["x\"${"]}"#
    );
    assert_eq!(
        value_of(&put("${each.key}-${3 - each.value.n}-${config.name}")),
        "\"a-4-shop\""
    );
    assert_eq!(value_of(&put("${each.value.t[0] + each.key}")), r#""x\"${a""#);
    assert_eq!(put("${vpc.known}"), text("${vpc.known}"));
}
