//! Counters and extremes, in exact decimal arithmetic.

use core::cmp::Ordering;

use crate::escape::{bigint, date};
use crate::json::{Number, SAFE_INTEGER_MAX, Value, nearest};
use crate::prelude::*;

/// Most decimal places that are computed exactly; beyond, doubles are used.
const SCALE_MAX: i32 = 30;

/// `theirs + (mine - base)`; an absent base counts as 0. `None` when not all are numbers, or an exact integer outgrows 127 bits.
///
/// Integers stay exact. Numbers with a fraction are added as the decimals that they show (0.1 + 0.2 is 0.3), then rounded to the
/// nearest double; when they span too many places, as doubles. A sum with a `BigInt` is one.
pub(super) fn sum(base: Option<&Value>, mine: &Value, theirs: &Value) -> Option<Value> {
    let zero = Number::from_i128(0);
    let numbers = [theirs, mine, base.unwrap_or(&Value::Null)].map(amount);
    let [Some(theirs_number), Some(mine_number), base_number] = numbers else { return None };
    let base_number = if base.is_some() { base_number? } else { zero };
    let operands = [theirs_number, mine_number, base_number];
    if operands.iter().all(Number::is_integer_literal) {
        let [theirs_integer, mine_integer, base_integer] = operands.map(|number| number.as_i128());
        let total = mine_integer?.checked_sub(base_integer?)?.checked_add(theirs_integer?)?;
        let is_big = [Some(theirs), Some(mine), base].into_iter().flatten().any(|value| bigint(value).is_some());
        return Some(integer(total, is_big));
    }
    let [theirs, mine, base] = operands;
    Number::from_f64(decimal_sum(&theirs, &mine, &base)?).map(Value::Number)
}

/// The one of two values that compares as `wanted` with the other; `theirs` when they are equal. `None` when they cannot be compared.
pub(super) fn smaller(mine: &Value, theirs: &Value, wanted: Ordering) -> Option<Value> {
    let order = match (date(mine), date(theirs)) {
        (Some(mine), Some(theirs)) => mine.total_cmp(&theirs),
        _ => compare(&amount(mine)?, &amount(theirs)?),
    };
    Some(if order == wanted { mine.clone() } else { theirs.clone() })
}

/// A number, or a tagged `BigInt`.
fn amount(value: &Value) -> Option<Number> {
    value.as_number().cloned().or_else(|| bigint(value))
}

fn integer(value: i128, is_big: bool) -> Value {
    let number = Number::from_i128(value);
    if is_big && value.unsigned_abs() <= SAFE_INTEGER_MAX.into() {
        Value::Object(vec![("~bigint".to_owned(), Value::String(number.literal().to_owned()))])
    } else {
        Value::Number(number)
    }
}

fn compare(a: &Number, b: &Number) -> Ordering {
    match (Decimal::of(a), Decimal::of(b)) {
        (Some(a), Some(b)) => Decimal::aligned([a, b]).map_or_else(|| Ordering::Equal, |([a, b], _)| a.cmp(&b)),
        _ => a.as_f64().total_cmp(&b.as_f64()),
    }
}

fn decimal_sum(theirs: &Number, mine: &Number, base: &Number) -> Option<f64> {
    let exact = || {
        let operands = [Decimal::of(theirs)?, Decimal::of(mine)?, Decimal::of(base)?];
        let ([theirs, mine, base], scale) = Decimal::aligned(operands)?;
        let total = mine.checked_sub(base)?.checked_add(theirs)?;
        nearest(&format!("{total}e-{scale}"))
    };
    exact().or_else(|| Some(theirs.as_f64() + (mine.as_f64() - base.as_f64())))
}

/// `mantissa * 10^-scale`, with 0 <= scale <= [`SCALE_MAX`].
#[derive(Clone, Copy)]
struct Decimal {
    mantissa: i128,
    scale: i32,
}

impl Decimal {
    fn of(number: &Number) -> Option<Decimal> {
        let text = number.canonical();
        let (coefficient, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = coefficient.split_once('.').unwrap_or((coefficient, ""));
        let mantissa: i128 = [whole, fraction].concat().parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent.parse().ok()?)?;
        if scale >= 0 {
            return (scale <= SCALE_MAX).then_some(Decimal { mantissa, scale });
        }
        Some(Decimal { mantissa: scaled(mantissa, scale.checked_neg()?)?, scale: 0 })
    }

    /// The mantissas at one common scale.
    fn aligned<const N: usize>(decimals: [Decimal; N]) -> Option<([i128; N], i32)> {
        let scale = decimals.iter().map(|decimal| decimal.scale).max().unwrap_or(0);
        let mut mantissas = [0; N];
        for (mantissa, decimal) in mantissas.iter_mut().zip(decimals) {
            *mantissa = scaled(decimal.mantissa, scale - decimal.scale)?;
        }
        Some((mantissas, scale))
    }
}

fn scaled(mantissa: i128, places: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(places).ok()?)?.checked_mul(mantissa)
}
