//! Kubernetes quantities: `500m`, `1Gi`, `2`, `1e3`, and when two of them mean the same.
//!
//! Grammar and suffixes: the API reference of `resource.Quantity`.

use epid_provider::Value;

/// A quantity as `digits * 2^binary * 10^decimal`.
#[derive(Clone, Copy)]
struct Quantity {
    digits: i128,
    binary: u32,
    decimal: i32,
}

/// True where both values are quantities of the same amount.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (read(a), read(b)) {
        (Some(a), Some(b)) => equal(a, b),
        _ => false,
    }
}

/// True where the value is a quantity: a number, or a text such as `500m` or `1Gi`.
pub(crate) fn is_quantity(value: &Value) -> bool {
    read(value).is_some()
}

fn read(value: &Value) -> Option<Quantity> {
    match value {
        Value::Int(n) => Some(Quantity {
            digits: i128::from(*n),
            binary: 0,
            decimal: 0,
        }),
        Value::Float(n) => parse(&n.to_string()),
        Value::Str(text) => parse(text),
        _ => None,
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (binary, power) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        other => (
            0,
            other
                .strip_prefix(['e', 'E'])?
                .parse::<i32>()
                .ok()
                .filter(|e| e.abs() <= 30)?,
        ),
    };
    let decimal = power - i32::try_from(fraction.len()).ok()?;
    let digits = if text.starts_with('-') { -digits } else { digits };
    Some(Quantity {
        digits,
        binary,
        decimal,
    })
}

/// Compares by taking common factors out, so that nothing overflows in ordinary amounts; amounts beyond differ.
fn equal(a: Quantity, b: Quantity) -> bool {
    let low = a.decimal.min(b.decimal);
    let scaled = |q: Quantity| {
        let tens = 10i128.checked_pow(u32::try_from(q.decimal - low).ok()?)?;
        let twos = 2i128.checked_pow(q.binary - a.binary.min(b.binary))?;
        q.digits.checked_mul(tens)?.checked_mul(twos)
    };
    match (scaled(a), scaled(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_compared_not_spellings() {
        let text = Value::str;
        for (a, b) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            (".5", "500m"),
            ("-1", "-1000m"),
            ("2E3", "2000"),
        ] {
            assert!(same(&text(a), &text(b)), "{a} {b}");
        }
        for (a, b) in [("1", "1m"), ("1Gi", "1G"), ("1", "x"), ("1E", "1")] {
            assert!(!same(&text(a), &text(b)), "{a} {b}");
        }
        assert!(same(&Value::Int(2), &text("2000m")));
        assert!(same(&Value::Float(0.25), &text("250m")));
    }

    #[test]
    fn nonsense_is_no_quantity() {
        for text in ["", "m", "1 Gi", "1GB", "1..2", "1e99999", "é", "1é"] {
            assert!(!is_quantity(&Value::str(text)), "{text}");
        }
        assert!(!is_quantity(&Value::Bool(true)));
    }

    proptest! {
        #[test]
        fn anything_is_read_without_panic(text in ".{0,40}", n in any::<i32>(), suffix in "[a-zA-Z]{0,2}") {
            is_quantity(&Value::str(&text));
            let q = Value::str(&format!("{n}{suffix}"));
            prop_assert_eq!(same(&q, &q), is_quantity(&q));
        }
    }
}
