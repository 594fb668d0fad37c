//! JSON from outside, read into types: an object where a type has members, and errors in words for the sender, with
//! the path of the member. The parser alone takes a list for an object (its elements in the order of the code), and
//! names our types in its errors.

use crate::syntax;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::Value;
use std::cell::RefCell;
use std::fmt;

/// What is wrong with a JSON text: where, and what is wanted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The member, as `retry.attempts_max` or `players[2]`; empty for all of the text.
    pub path: String,
    what: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}", self.what),
            path => write!(f, "{path} {}", self.what),
        }
    }
}

impl std::error::Error for Unfit {}

/// Reads a text.
///
/// # Errors
/// It is not JSON, or a member is missing, unknown or of another type.
pub fn from_str<'de, T: serde::Deserialize<'de>>(json: &'de str) -> Result<T, Unfit> {
    let path = ErrorPath::default();
    let mut parser = serde_json::Deserializer::from_str(json);
    let read = T::deserialize(Strict { inner: &mut parser, path: &path });
    read.and_then(|read| parser.end().map(|()| read)).map_err(|error| path.unfit(&error, json.as_bytes()))
}

/// Reads bytes.
///
/// # Errors
/// As [`from_str`].
pub fn from_slice<'de, T: serde::Deserialize<'de>>(json: &'de [u8]) -> Result<T, Unfit> {
    match std::str::from_utf8(json) {
        Ok(json) => from_str(json),
        Err(_) => Err(Unfit { path: String::new(), what: "it is not JSON: not UTF-8".into() }),
    }
}

/// Reads a tree.
///
/// # Errors
/// A member is missing, unknown or of another type.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Unfit> {
    let path = ErrorPath::default();
    T::deserialize(Strict { inner: value, path: &path }).map_err(|error| path.unfit(&error, b""))
}

/// The way to what is wrong, from the innermost member out.
#[derive(Default)]
struct ErrorPath(RefCell<Vec<String>>);

impl ErrorPath {
    fn add(&self, step: String) {
        self.0.borrow_mut().push(step);
    }

    fn unfit(&self, error: &serde_json::Error, json: &[u8]) -> Unfit {
        let mut path = String::new();
        for step in self.0.borrow().iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        match error.is_data() {
            true => told(path, said.strip_suffix(&place).unwrap_or(&said)),
            false => {
                Unfit { path: String::new(), what: format!("it is not JSON: {}", syntax::expected(error, json)) }
            }
        }
    }
}

/// What the parser says, in words for the sender.
fn told(path: String, said: &str) -> Unfit {
    let named = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let quoted = |start: &str| said.strip_prefix(start)?.split_once('`');
    if let Some((name, _)) = quoted("missing field `") {
        return Unfit { path: named(name), what: "is missing".into() };
    }
    if let Some((name, _)) = quoted("duplicate field `") {
        return Unfit { path: named(name), what: "is there twice".into() };
    }
    if let Some((name, rest)) = quoted("unknown field `") {
        let known = rest.strip_prefix(", expected ").unwrap_or("none");
        // The parser stood at the unknown member, or in the object that has it.
        let path = if path == name || path.ends_with(&format!(".{name}")) { path } else { named(name) };
        return Unfit { path, what: format!("is no member: known is {}", known.trim_start_matches("one of ")) };
    }
    if said.starts_with("data did not match any variant") {
        return Unfit { path, what: "has none of the shapes that are known".into() };
    }
    let what = match quoted("unknown variant `") {
        Some((given, rest)) => {
            format!("must be {}, not `{given}`", rest.strip_prefix(", expected ").unwrap_or("another word"))
        }
        None => {
            let wrong = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
            match wrong.and_then(|wrong| wrong.split_once(", expected ")) {
                Some((given, wanted)) => format!("must be {}, not {}", wanted_words(wanted), given_words(given)),
                None => said.to_owned(),
            }
        }
    };
    match path.is_empty() {
        true => Unfit { path, what: format!("it {what}") },
        false => Unfit { path, what },
    }
}

fn wanted_words(wanted: &str) -> String {
    match wanted {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => format!("a whole number from 0 to {}", u64::MAX),
        "i32" | "i64" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        wanted if wanted.contains("enum ") => "one of the words that are known".into(),
        wanted if wanted.starts_with("struct ") => "an object".into(),
        wanted => wanted.to_owned(),
    }
}

fn given_words(given: &str) -> String {
    match given {
        "sequence" => "a list".into(),
        "map" => "an object".into(),
        given => match given.split_once(' ') {
            Some((_, value)) => value.trim_matches('`').to_owned(),
            None => given.to_owned(),
        },
    }
}

/// A deserializer for which objects are objects, and what is inside of it.
struct Strict<'p, D> {
    inner: D,
    path: &'p ErrorPath,
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* Inside { inner: visitor, path: self.path })
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any(); deserialize_bool(); deserialize_i8(); deserialize_i16(); deserialize_i32();
        deserialize_i64(); deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64(); deserialize_char();
        deserialize_str(); deserialize_string(); deserialize_bytes(); deserialize_byte_buf();
        deserialize_option(); deserialize_unit(); deserialize_seq(); deserialize_map(); deserialize_identifier();
        deserialize_ignored_any();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(Inside { inner: visitor, path: self.path })
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A visitor, a seed or an access, whose inner values are read strictly too.
struct Inside<'p, V> {
    inner: V,
    path: &'p ErrorPath,
}

macro_rules! pass {
    ($($method:ident($type:ty);)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    pass! {
        visit_bool(bool); visit_i8(i8); visit_i16(i16); visit_i32(i32); visit_i64(i64); visit_i128(i128);
        visit_u8(u8); visit_u16(u16); visit_u32(u32); visit_u64(u64); visit_u128(u128); visit_f32(f32);
        visit_f64(f64); visit_char(char); visit_str(&str); visit_borrowed_str(&'de str); visit_string(String);
        visit_bytes(&[u8]); visit_borrowed_bytes(&'de [u8]); visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Strict { inner, path: self.path })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Strict { inner, path: self.path })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(ListAccess { inner, path: self.path, next: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(ObjectAccess { inner, path: self.path, name: String::new() })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(inner)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Inside<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Strict { inner, path: self.path })
    }
}

struct ListAccess<'p, A> {
    inner: A,
    path: &'p ErrorPath,
    next: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for ListAccess<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let at = self.next;
        self.next += 1;
        let read = self.inner.next_element_seed(Inside { inner: seed, path: self.path });
        read.inspect_err(|_| self.path.add(format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct ObjectAccess<'p, A> {
    inner: A,
    path: &'p ErrorPath,
    name: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for ObjectAccess<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(MemberName { seed, name: &mut self.name })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let read = self.inner.next_value_seed(Inside { inner: seed, path: self.path });
        read.inspect_err(|_| self.path.add(self.name.clone()))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Reads the name of a member, and keeps it for an error in its value.
struct MemberName<'n, S> {
    seed: S,
    name: &'n mut String,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for MemberName<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let name = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(inner)?;
        self.name.clear();
        self.name.push_str(&name);
        let again: StrDeserializer<'_, D::Error> = self.name.as_str().into_deserializer();
        self.seed.deserialize(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        name: String,
        retry: Option<Retry>,
        #[serde(default)]
        players: Vec<Retry>,
        #[serde(default)]
        words: BTreeMap<String, u64>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Retry {
        most: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Low,
        High,
    }

    #[test]
    fn an_object_is_an_object_and_an_error_says_where_and_what() {
        let fine = r#"{"name":"a","retry":{"most":3},"players":[{"most":1}],"words":{"x":1},"kind":"low"}"#;
        let read: Wanted = from_str(fine).unwrap();
        assert_eq!(read, from_value(serde_json::from_str(fine).unwrap()).unwrap());
        assert_eq!((read.retry, read.words["x"], read.kind), (Some(Retry { most: 3 }), 1, Some(Kind::Low)));
        for (json, said) in [
            (r#"["a"]"#, "it must be an object, not a list"),
            (r#"{"name":"a","retry":[3]}"#, "retry must be an object, not a list"),
            (r#"{"name":"a","players":[{"most":1},[2]]}"#, "players[1] must be an object, not a list"),
            (r#"{"name":"a","retry":{"most":-1}}"#, "retry.most must be a whole number from 0 to 4294967295, not -1"),
            (r#"{"name":7}"#, "name must be a string, not 7"),
            (r#"{"retry":{}}"#, "retry.most is missing"),
            (r#"{}"#, "name is missing"),
            (r#"{"name":"a","name":"b"}"#, "name is there twice"),
            (r#"{"name":"a","kind":"mid"}"#, "kind must be `low` or `high`, not `mid`"),
            (r#"{"name":"a","words":{"x":1.5}}"#, "words.x must be a whole number"),
        ] {
            let told = from_str::<Wanted>(json).unwrap_err().to_string();
            assert!(told.starts_with(said), "{json}: {told}");
        }
        let unknown = from_str::<Wanted>(r#"{"name":"a","nme":1}"#).unwrap_err().to_string();
        assert!(unknown.starts_with("nme is no member: known is `name`, `retry`"), "{unknown}");
        for json in ["", "{", "{\"name\":\"a\"} x", "nil"] {
            let told = from_str::<Wanted>(json).unwrap_err().to_string();
            assert!(told.starts_with("it is not JSON: "), "{json}: {told}");
        }
    }

    #[test]
    fn what_is_kept_as_it_was_written_stays_so() {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            detail: &'a RawValue,
        }
        let read: Envelope<'_> = from_str(r#"{"detail":{"z":1.10,"a":[1e400]}}"#).unwrap();
        assert_eq!(read.detail.get(), r#"{"z":1.10,"a":[1e400]}"#);
    }
}
