//! Equality as schemas define it: numbers are equal by value, however they are written: 1 equals 1.0.

use serde_json::{Number, Value};

/// Whether two values are equal.
pub(crate) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => numbers_equal(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, one): (&String, &Value)| other.get(name).is_some_and(|other| equal(one, other));
            one.len() == other.len() && one.iter().all(same)
        }
        (one, other) => one == other,
    }
}

fn numbers_equal(one: &Number, other: &Number) -> bool {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        _ => false,
    }
}

/// The exact value of a number without a fraction.
fn whole(number: &Number) -> Option<i128> {
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e38)?;
    Some(float as i128)
}

/// A text that is equal for equal values, and only for these.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    push(&mut text, value);
    text
}

fn push(text: &mut String, value: &Value) {
    match value {
        Value::Number(number) => match whole(number) {
            Some(whole) => text.push_str(&whole.to_string()),
            None => text.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            text.push('[');
            for item in items {
                push(text, item);
                text.push(',');
            }
            text.push(']');
        }
        // Members are sorted by name.
        Value::Object(members) => {
            text.push('{');
            for (name, member) in members {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                push(text, member);
                text.push(',');
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_by_their_value() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (one, other, same) in [
            ("1", "1.0", true),
            ("0", "-0.0", true),
            ("1e2", "100", true),
            ("1.5", "15e-1", true),
            ("1", "1.5", false),
            ("1e300", "1e300", true),
            // Exact where a double is not.
            ("9007199254740993", "9007199254740992.0", false),
            ("18446744073709551615", "18446744073709551615", true),
            (r#"{"a":[1,{"b":2.0}]}"#, r#"{"a":[1.0,{"b":2}]}"#, true),
            (r#"{"a":1}"#, r#"{"b":1}"#, false),
            ("[1]", "[1,1]", false),
            ("1", "\"1\"", false),
            ("true", "1", false),
        ] {
            let (one, other) = (read(one), read(other));
            assert_eq!(equal(&one, &other), same, "{one} {other}");
            assert_eq!(canonical(&one) == canonical(&other), same, "{one} {other}");
        }
    }
}
