//! Patterns against the obvious matcher: structured patterns and events from a small alphabet, so that much matches;
//! several patterns are compiled together, and each must agree with its own plain reading.

#![no_main]

use arbitrary::Arbitrary;
use fakemon_pattern::pattern::{Matcher, Pattern, Scratch};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

/// A value of a few letters, numbers or words.
#[derive(Arbitrary, Clone, Debug)]
enum Leaf {
    Text(Text),
    Number(i8),
    Bool(bool),
    Null,
}

/// At most six letters of three; some have another case.
#[derive(Arbitrary, Clone, Debug)]
struct Text(Vec<Letter>);

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Letter {
    A,
    B,
    UpperA,
    Dot,
}

impl Text {
    fn get(&self) -> String {
        self.0
            .iter()
            .take(6)
            .map(|letter| match letter {
                Letter::A => 'a',
                Letter::B => 'b',
                Letter::UpperA => 'A',
                Letter::Dot => '.',
            })
            .collect()
    }
}

impl Leaf {
    fn json(&self) -> Value {
        match self {
            Leaf::Text(text) => json!(text.get()),
            Leaf::Number(number) => json!(number),
            Leaf::Bool(word) => json!(word),
            Leaf::Null => Value::Null,
        }
    }
}

/// What an event has at a path.
#[derive(Arbitrary, Clone, Debug)]
enum Held {
    Nothing,
    One(Leaf),
    Many(Vec<Leaf>),
}

#[derive(Arbitrary, Clone, Debug)]
enum Condition {
    Exactly(Leaf),
    Prefix(Text),
    Suffix(Text),
    IgnoreCase(Text),
    Wildcard(Vec<Part>),
    AnythingBut(Vec<Text>),
    AnythingButNumbers(Vec<i8>),
    AnythingButPrefix(Text),
    Exists(bool),
    Above(i8, bool),
    Between(i8, i8),
}

#[derive(Arbitrary, Clone, Debug)]
enum Part {
    Star,
    Letter(Letter),
}

impl Condition {
    /// As a pattern says it; `None`: no pattern can.
    fn json(&self) -> Option<Value> {
        let filled = |text: &Text| Some(text.get()).filter(|text| !text.is_empty());
        Some(match self {
            Condition::Exactly(leaf) => leaf.json(),
            Condition::Prefix(text) => json!({ "prefix": filled(text)? }),
            Condition::Suffix(text) => json!({ "suffix": filled(text)? }),
            Condition::IgnoreCase(text) => json!({ "equals-ignore-case": filled(text)? }),
            Condition::Wildcard(parts) => json!({ "wildcard": wildcard(parts)? }),
            Condition::AnythingBut(texts) if texts.is_empty() => return None,
            Condition::AnythingBut(texts) => {
                json!({ "anything-but": texts.iter().map(Text::get).collect::<Vec<_>>() })
            }
            Condition::AnythingButNumbers(numbers) if numbers.is_empty() => return None,
            Condition::AnythingButNumbers(numbers) => json!({ "anything-but": numbers }),
            Condition::AnythingButPrefix(text) => json!({ "anything-but": { "prefix": filled(text)? } }),
            Condition::Exists(wanted) => json!({ "exists": wanted }),
            Condition::Above(bound, true) => json!({ "numeric": [">=", bound] }),
            Condition::Above(bound, false) => json!({ "numeric": [">", bound] }),
            Condition::Between(bottom, top) if bottom < top => json!({ "numeric": [">=", bottom, "<", top] }),
            Condition::Between(..) => return None,
        })
    }

    /// Whether a value meets it, in the plainest words.
    fn holds(&self, leaf: &Leaf) -> bool {
        match (self, leaf) {
            (Condition::Exactly(wanted), leaf) => wanted.json() == leaf.json(),
            (Condition::Prefix(wanted), Leaf::Text(text)) => text.get().starts_with(&wanted.get()),
            (Condition::Suffix(wanted), Leaf::Text(text)) => text.get().ends_with(&wanted.get()),
            (Condition::IgnoreCase(wanted), Leaf::Text(text)) => text.get().eq_ignore_ascii_case(&wanted.get()),
            (Condition::Wildcard(parts), Leaf::Text(text)) => {
                let wildcard = wildcard(parts).expect("only patterns that were written are asked");
                like(wildcard.as_bytes(), text.get().as_bytes())
            }
            (Condition::AnythingBut(texts), Leaf::Text(text)) => !texts.iter().any(|one| one.get() == text.get()),
            (Condition::AnythingButNumbers(numbers), Leaf::Number(number)) => !numbers.contains(number),
            (Condition::AnythingButPrefix(wanted), Leaf::Text(text)) => !text.get().starts_with(&wanted.get()),
            (Condition::AnythingBut(_) | Condition::AnythingButNumbers(_) | Condition::AnythingButPrefix(_), _) => {
                true
            }
            (Condition::Exists(wanted), _) => *wanted,
            (Condition::Above(bound, true), Leaf::Number(number)) => number >= bound,
            (Condition::Above(bound, false), Leaf::Number(number)) => number > bound,
            (Condition::Between(bottom, top), Leaf::Number(number)) => bottom <= number && number < top,
            _ => false,
        }
    }
}

/// At most eight parts, no two stars beside each other.
fn wildcard(parts: &[Part]) -> Option<String> {
    let mut text = String::new();
    for part in parts.iter().take(8) {
        match part {
            Part::Star if text.ends_with('*') => return None,
            Part::Star => text.push('*'),
            Part::Letter(letter) => text += &Text(vec![*letter]).get(),
        }
    }
    Some(text).filter(|text| !text.is_empty())
}

/// The textbook's matcher.
fn like(wildcard: &[u8], text: &[u8]) -> bool {
    match wildcard {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        [letter, rest @ ..] => text.first() == Some(letter) && like(rest, &text[1..]),
    }
}

/// Where values are: at the top, and one level below.
const PATHS: [(&str, Option<&str>); 3] = [("x", None), ("y", Some("z")), ("y", Some("w"))];

#[derive(Arbitrary, Debug)]
struct Input {
    event: [Held; 3],
    rules: Vec<[Vec<Condition>; 3]>,
}

/// An object with a value at each path that has one.
fn object(values: impl Iterator<Item = Option<Value>>) -> Value {
    let mut object = Map::new();
    for ((outer, inner), value) in PATHS.iter().zip(values) {
        let Some(value) = value else { continue };
        match inner {
            None => {
                object.insert((*outer).to_owned(), value);
            }
            Some(inner) => {
                object.entry(*outer).or_insert_with(|| json!({}))[*inner] = value;
            }
        }
    }
    Value::Object(object)
}

/// Whether the conditions of a field are met by what is there.
fn met(conditions: &[Condition], held: &Held) -> bool {
    let absent = conditions.iter().any(|condition| matches!(condition, Condition::Exists(false)));
    let any = |leaf: &Leaf| conditions.iter().any(|condition| condition.holds(leaf));
    match held {
        Held::Nothing => absent,
        Held::One(leaf) => any(leaf),
        Held::Many(leaves) => leaves.iter().take(4).any(any),
    }
}

fuzz_target!(|input: Input| {
    // What an empty array is to `exists` is a case of its own, recorded elsewhere.
    if input.event.iter().any(|held| matches!(held, Held::Many(leaves) if leaves.is_empty())) {
        return;
    }
    let event = object(input.event.iter().map(|held| match held {
        Held::Nothing => None,
        Held::One(leaf) => Some(leaf.json()),
        Held::Many(leaves) => Some(leaves.iter().take(4).map(Leaf::json).collect()),
    }));
    let event = event.to_string();
    let (mut patterns, mut expected) = (Vec::new(), Vec::new());
    for fields in input.rules.iter().take(4) {
        let fields = fields.each_ref().map(|conditions| {
            let written = conditions.iter().take(3).filter(|condition| condition.json().is_some());
            written.cloned().collect::<Vec<_>>()
        });
        if fields.iter().all(Vec::is_empty) {
            continue;
        }
        let conditions = |conditions: &Vec<Condition>| {
            let written = conditions.iter().filter_map(Condition::json).collect::<Vec<_>>();
            (!written.is_empty()).then(|| Value::Array(written))
        };
        let text = object(fields.iter().map(conditions)).to_string();
        let pattern = Pattern::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let holds = fields.iter().zip(&input.event).all(|(wanted, held)| wanted.is_empty() || met(wanted, held));
        assert_eq!(pattern.matches(event.as_bytes()).expect("it is an event"), holds, "{text} on {event}");
        let id = u32::try_from(patterns.len()).expect("they are few");
        if holds {
            expected.push(id);
        }
        patterns.push((id, pattern));
    }
    let matcher = Matcher::new(patterns.iter().map(|(id, pattern)| (*id, pattern))).expect("they are few");
    let mut together = matcher.matches(event.as_bytes(), &mut Scratch::default()).expect("it is an event").to_vec();
    together.sort_unstable();
    assert_eq!(together, expected, "{patterns:?} on {event}");
});
