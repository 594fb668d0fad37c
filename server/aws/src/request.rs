//! Checked members of a request. Errors that the service finds in its first pass are reported together:
//! `2 validation errors detected: …`.

use crate::ApiError;
use base64::Engine as _;
use fakemon_model::envelope::ACCOUNT;
use parking_lot::Mutex;
use serde_json::{Map, Value};

/// Pattern of most names.
pub const NAME: &str = r"[\.\-_A-Za-z0-9]+";
/// Pattern of names of buses.
pub const BUS_NAME: &str = r"[/\.\-_A-Za-z0-9]+";

/// Below 2^53 a whole number is exact as a float, too.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

const ROLE: &str = r"arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@\/-]+";

/// The members of a request in JSON; an empty body has none. A number without a fraction is a whole number however it
/// is written: JSON has one kind of number, so `10`, `10.0` and `1e1` are the same.
pub fn read_json(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut members)) => {
            members.values_mut().for_each(make_whole);
            Ok(members)
        }
        Ok(_) => Err(ApiError::new("SerializationException", "the request is no JSON object")),
        Err(error) => Err(ApiError::new("SerializationException", format!("the request is no JSON: {error}"))),
    }
}

fn make_whole(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < WHOLE_MAX);
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the bounds of an i64")]
            if let Some(float) = whole {
                *value = Value::from(float as i64);
            }
        }
        _ => {}
    }
}

/// A request and what was found wrong with it so far.
pub struct Request<'r> {
    members: &'r Map<String, Value>,
    wrong: Mutex<Vec<String>>,
}

impl<'r> Request<'r> {
    pub fn new(members: &'r Map<String, Value>) -> Request<'r> {
        Request { members, wrong: Mutex::default() }
    }

    /// A member as it is; null counts as missing.
    pub fn get(&self, name: &str) -> Option<&'r Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text; any other type is noted as an error.
    pub fn text(&self, name: &str) -> Option<&'r str> {
        match self.get(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.found(format!(
                    "Value at '{}' failed to satisfy constraint: Member must be a string",
                    lower(name)
                ));
                None
            }
            None => None,
        }
    }

    /// A required text; empty if it is missing, which is noted as an error.
    pub fn required(&self, name: &str) -> &'r str {
        if self.get(name).is_none() {
            self.required_at(&lower(name));
        }
        self.text(name).unwrap_or_default()
    }

    /// A required name: matches `pattern`, at most `max` characters.
    pub fn name(&self, member: &str, pattern: &str, max: usize) -> &'r str {
        let name = self.required(member);
        if !name.is_empty() || self.get(member).is_some() {
            self.check_name(&lower(member), name, pattern, max);
        }
        name
    }

    pub fn check_name(&self, at: &str, name: &str, pattern: &str, max: usize) {
        let slash = pattern == BUS_NAME;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') || slash && b == b'/';
        if !name.bytes().all(fits) || name.is_empty() {
            self.found(format!(
                "Value '{name}' at '{at}' failed to satisfy constraint: Member must satisfy regular expression pattern: \
                 {pattern}"
            ));
        }
        self.check_length(at, name, 1, max);
    }

    /// Notes an error unless the text has `min` to `max` characters.
    pub fn check_length(&self, at: &str, text: &str, min: usize, max: usize) {
        let (bound, limit) = match text.chars().count() {
            length if length < min => ("greater than or equal to", min),
            length if length > max => ("less than or equal to", max),
            _ => return,
        };
        self.found(format!(
            "Value '{text}' at '{at}' failed to satisfy constraint: Member must have length {bound} {limit}"
        ));
    }

    /// Notes an error unless it is the ARN of a role; the role need not exist.
    pub fn check_role(&self, at: &str, role: &str) {
        if !is_role(role) {
            self.found(format!(
                "Value '{role}' at '{at}' failed to satisfy constraint: Member must satisfy regular expression pattern: \
                 {ROLE}"
            ));
        }
    }

    /// A list of `min` to `max` members. As with the service, the error shows the value only if the list is empty.
    pub fn list(&self, name: &str, min: usize, max: usize) -> &'r [Value] {
        let Some(value) = self.get(name) else {
            self.required_at(&lower(name));
            return &[];
        };
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let (bound, limit) = match list.len() {
            length if length < min => ("greater than or equal to", min),
            length if length > max => ("less than or equal to", max),
            _ => return list,
        };
        let shown = if list.is_empty() { "[]" } else { "[…]" };
        self.found(format!(
            "Value '{shown}' at '{}' failed to satisfy constraint: Member must have length {bound} {limit}",
            lower(name)
        ));
        list
    }

    /// Notes that a required member is missing.
    pub fn required_at(&self, at: &str) {
        self.found(format!("Value null at '{at}' failed to satisfy constraint: Member must not be null"));
    }

    /// A text of at most `max` characters.
    pub fn short(&self, name: &str, max: usize) -> Option<String> {
        let text = self.text(name)?;
        self.check_length(&lower(name), text, 0, max);
        Some(text.to_owned())
    }

    /// A text that is one of `words`.
    pub fn one_of(&self, name: &str, words: &[&str]) -> Option<&'r str> {
        let text = self.text(name)?;
        if !words.contains(&text) {
            self.found(format!(
                "Value '{text}' at '{}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
                lower(name),
                words.join(", ")
            ));
        }
        Some(text)
    }

    /// A whole number between two bounds.
    pub fn number(&self, name: &str, min: u64, max: u64) -> Option<u64> {
        self.number_at(&lower(name), self.get(name)?, min, max)
    }

    /// A whole number inside another member.
    pub fn number_at(&self, at: &str, value: &Value, min: u64, max: u64) -> Option<u64> {
        let number = value.as_u64().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            let (bound, limit) = match value.as_f64().is_some_and(|number| number > max as f64) {
                true => ("less than or equal to", max),
                false => ("greater than or equal to", min),
            };
            self.found(format!(
                "Value '{value}' at '{at}' failed to satisfy constraint: Member must have value {bound} {limit}"
            ));
        }
        number
    }

    pub fn found(&self, wrong: String) {
        self.wrong.lock().push(wrong);
    }

    /// Fails with all errors noted so far, if there are any.
    pub fn check(&self) -> Result<(), ApiError> {
        let wrong = self.wrong.lock();
        match wrong.len() {
            0 => Ok(()),
            1 => Err(ApiError::invalid(format!("1 validation error detected: {}", wrong[0]))),
            several => Err(ApiError::invalid(format!("{several} validation errors detected: {}", wrong.join("; ")))),
        }
    }

    /// The bus that a member names, by name or ARN; without one the default bus.
    pub fn bus(&self, member: &str) -> String {
        let name = self.text(member).unwrap_or("default");
        name.rsplit_once(":event-bus/").map_or(name, |(_, name)| name).to_owned()
    }

    /// A page of items in the order of their keys, and the token of the next. The token holds the last key, so that a
    /// client that deletes while paging misses none.
    pub fn page<T>(
        &self,
        list: &str,
        things: impl IntoIterator<Item = (String, T)>,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let limit = self.number("Limit", 1, 100).unwrap_or(100) as usize;
        self.check()?;
        let after = self.token("NextToken", list)?;
        Ok(page_behind(list, after, limit, things))
    }

    /// The key after which a list continues, from a token of the same list.
    pub fn token(&self, member: &str, list: &str) -> Result<Option<String>, ApiError> {
        let Some(token) = self.text(member) else { return Ok(None) };
        let read = TOKEN.decode(token).ok().and_then(|read| String::from_utf8(read).ok());
        match read.as_deref().and_then(|read| read.split_once('\0')) {
            Some((of, key)) if of == list => Ok(Some(key.to_owned())),
            _ => Err(ApiError::invalid(format!("The specified {member} is not valid."))),
        }
    }
}

/// Encoding of tokens: opaque, and safe in a query string.
const TOKEN: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The token with which a list continues after a key.
pub fn token_behind(list: &str, key: &str) -> String {
    TOKEN.encode(format!("{list}\0{key}"))
}

/// At most `max` items of a list, in the order of their keys, after a key.
pub fn page_behind<T>(
    list: &str,
    after: Option<String>,
    limit: usize,
    things: impl IntoIterator<Item = (String, T)>,
) -> (Vec<T>, Option<String>) {
    let is_behind = |(key, _): &(String, T)| after.as_ref().is_none_or(|after| key > after);
    let mut things: Vec<(String, T)> = things.into_iter().filter(is_behind).collect();
    things.sort_by(|(one, _), (other, _)| one.cmp(other));
    let is_last = things.len() <= limit;
    things.truncate(limit);
    let next = things.last().filter(|_| !is_last).map(|(key, _)| token_behind(list, key));
    (things.into_iter().map(|(_, thing)| thing).collect(), next)
}

/// `arn:aws:iam::123456789012:role/name`.
fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, role] = parts.as_slice() else { return false };
    let name = role.strip_prefix("role/").unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@/-".contains(&b);
    partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(fits)
}

/// `EventBusName` as `eventBusName`: the names of members in the service's errors.
pub fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// ARN of a resource of EventBridge.
pub fn arn(region: &str, resource: &str) -> String {
    format!("arn:aws:events:{region}:{ACCOUNT}:{resource}")
}

/// An answer with a token, if there is a next page.
pub fn paged(name: &str, page: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = Map::new();
    answer.insert(name.into(), page.into());
    if let Some(next) = next {
        answer.insert("NextToken".into(), next.into());
    }
    answer.into()
}

/// An object of the members that have a value.
pub fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        let read =
            read_json(br#"{"a": 10.0, "b": [1e1, {"c": -2.0}], "d": 1.5, "e": 1e300, "f": "10.0", "g": -0.0}"#);
        let expected = json!({ "a": 10, "b": [10, { "c": -2 }], "d": 1.5, "e": 1e300, "f": "10.0", "g": 0 });
        assert_eq!(Value::Object(read.unwrap()), expected);
        assert!(read_json(b"").unwrap().is_empty());
        for wrong in ["[]", "{", "1", "{\"a\": NaN}"] {
            assert_eq!(read_json(wrong.as_bytes()).unwrap_err().code, "SerializationException");
        }
    }
}
