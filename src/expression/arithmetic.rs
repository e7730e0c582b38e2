//! Operators over known values.

use std::cmp::Ordering;
use std::ops::Range;

use epid_provider::Value;

use super::outcome::{Failure, Outcome, a, fail};
use super::syntax::Binary;

/// Arithmetic, concatenation and order of two known values without marks.
pub(super) fn computed(operator: Binary, left: &Value, right: &Value, range: &Range<u32>) -> Outcome {
    let compare = |order| compared(operator, order).ok_or_else(|| mismatch(operator, left, right, range));
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => whole(operator, *a, *b, range),
        (Value::Float(a), Value::Float(b)) => float(operator, *a, *b, range),
        (Value::Int(a), Value::Float(b)) => compare(compare_mixed(*a, *b)),
        (Value::Float(a), Value::Int(b)) => compare(compare_mixed(*b, *a).map(Ordering::reverse)),
        (Value::Str(a), Value::Str(b)) if operator == Binary::Add => Ok(Value::from(format!("{a}{b}"))),
        (Value::List(a), Value::List(b)) if operator == Binary::Add => {
            Ok(Value::list(a.iter().chain(b.iter()).cloned()))
        }
        (Value::Str(a), Value::Str(b)) => compare(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => compare(Some(a.cmp(b))),
        _ => Err(mismatch(operator, left, right, range)),
    }
}

pub(super) fn overflow(range: &Range<u32>) -> Failure {
    fail(range, "the result is too large for a whole number of 64 bits")
}

fn mismatch(operator: Binary, left: &Value, right: &Value, range: &Range<u32>) -> Failure {
    let takes = match operator {
        Binary::Add => "two integers, two numbers, two strings or two lists",
        Binary::Remainder => "two integers",
        Binary::Subtract | Binary::Multiply | Binary::Divide => "two integers or two numbers",
        _ => "two numbers, two strings or two booleans",
    };
    let message = format!(
        "`{}` takes {takes}, not {} and {}",
        operator.sign(),
        a(left),
        a(right)
    );
    fail(range, message).hint(match (left, right) {
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            Some("double(…) makes a number of an integer".to_owned())
        }
        (Value::Str(_), Value::Int(_) | Value::Float(_) | Value::Bool(_))
        | (Value::Int(_) | Value::Float(_) | Value::Bool(_), Value::Str(_)) => {
            Some("string(…) makes a string of it".to_owned())
        }
        _ => None,
    })
}

fn whole(operator: Binary, a: i64, b: i64, range: &Range<u32>) -> Outcome {
    let zero = || fail(range, "division by zero");
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide if b == 0 => return Err(zero()),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder if b == 0 => return Err(zero()),
        Binary::Remainder => a.checked_rem(b),
        _ => {
            let value = compared(operator, Some(a.cmp(&b)));
            return value.ok_or_else(|| overflow(range));
        }
    };
    result.map(Value::Int).ok_or_else(|| overflow(range))
}

fn float(operator: Binary, a: f64, b: f64, range: &Range<u32>) -> Outcome {
    let result = match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide if b == 0.0 => return Err(fail(range, "division by zero")),
        Binary::Divide => a / b,
        _ => {
            let value = compared(operator, a.partial_cmp(&b));
            return value.ok_or_else(|| mismatch(operator, &Value::Float(a), &Value::Float(b), range));
        }
    };
    if result.is_finite() {
        Ok(Value::Float(result))
    } else {
        Err(fail(range, "the result is too large for a number"))
    }
}

/// What a comparison says; `None` where the operator is none.
fn compared(operator: Binary, order: Option<Ordering>) -> Option<Value> {
    let order = order?;
    let holds = match operator {
        Binary::Less => order.is_lt(),
        Binary::AtMost => order.is_le(),
        Binary::More => order.is_gt(),
        Binary::AtLeast => order.is_ge(),
        _ => return None,
    };
    Some(Value::Bool(holds))
}

/// An integer against a number, exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number has been found to lie within the integers"
)]
pub(super) fn compare_mixed(a: i64, b: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        return None;
    }
    if b >= BEYOND {
        return Some(Ordering::Less);
    }
    if b < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc();
    let rest = 0.0_f64.partial_cmp(&(b - whole))?;
    Some(a.cmp(&(whole as i64)).then(rest))
}
