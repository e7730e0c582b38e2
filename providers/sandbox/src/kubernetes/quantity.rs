//! Quantities: `500m`, `1Gi`, `2`.

/// A quantity in thousandths, exact up to the range of `i128`; `None` where the text is no quantity.
pub(crate) fn milli(text: &str) -> Option<i128> {
    parse(text).map(|(milli, _)| milli)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Binary,
    Decimal,
}

fn parse(text: &str) -> Option<(i128, Family)> {
    let end = text
        .char_indices()
        .find(|(place, letter)| {
            !(letter.is_ascii_digit() || *letter == '.' || (*place == 0 && matches!(letter, '+' | '-')))
        })
        .map_or(text.len(), |(place, _)| place);
    let (number, suffix) = text.split_at(end);
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty())
        || fraction.contains('.')
        || whole.len() > 18
        || fraction.len() > 9
    {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let binary = |power: u32| (1024_i128.pow(power) * 1000, Family::Binary);
    let decimal = |power: u32| (10_i128.pow(power + 3), Family::Decimal);
    let (factor, family) = match suffix {
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "m" => (1, Family::Decimal),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => {
            let power: u32 = suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|power| *power <= 18)?;
            decimal(power)
        }
    };
    // Smaller parts than a thousandth are rounded up.
    let value = digits.checked_mul(factor)?;
    let milli = value / scale + i128::from(value % scale != 0);
    Some((sign * milli, family))
}

/// The form in which the server answers a quantity.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (milli, family) = parse(text)?;
    if milli == 0 {
        return Some("0".to_owned());
    }
    if milli % 1000 != 0 {
        return Some(format!("{milli}m"));
    }
    let mut value = milli / 1000;
    let (base, units): (i128, &[&str]) = match family {
        Family::Binary => (1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
        Family::Decimal => (1000, &["", "k", "M", "G", "T", "P", "E"]),
    };
    let mut unit = 0;
    while value % base == 0 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    Some(format!("{value}{}", units.get(unit).copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_form() {
        for (text, expected) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("2000", "2k"),
            ("1e3", "1k"),
            ("128974848", "128974848"),
            ("0", "0"),
            ("100m", "100m"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "x", "1.2.3", "5Zi", "-", "."] {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert!(milli("1Gi") > milli("1G"));
    }
}
