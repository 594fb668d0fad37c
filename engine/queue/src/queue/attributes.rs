//! What a message may contain: characters, attributes and sizes, as SQS defines them.

use super::message::{Attribute, NewMessage};
use std::collections::BTreeMap;

/// The most attributes of a message.
pub const ATTRIBUTES_MAX: usize = 10;
/// Names and types of attributes must be shorter than this, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Whether a text has only characters that are allowed in a message: those of XML.
pub fn is_content(text: &str) -> bool {
    let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    text.chars().all(fits)
}

/// Whether a text can be the id of a group or a deduplication id.
pub fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The first thing that is wrong with the attributes of a message.
pub fn fault_in(attributes: &BTreeMap<String, Attribute>) -> Option<String> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Some(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{ATTRIBUTES_MAX}].",
            attributes.len()
        ));
    }
    attributes.iter().find_map(|(name, attribute)| fault_in_name(name).or_else(|| fault_in_value(name, attribute)))
}

fn fault_in_name(name: &str) -> Option<String> {
    let is_ours = |prefix: &str| name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(fits) {
        return Some(format!(
            "The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore (_), \
             hyphen (-), and period (.) characters."
        ));
    }
    if is_ours("AWS.") || is_ours("Amazon.") {
        return Some(format!(
            "The message attribute name '{name}' is invalid. Names that begin with 'AWS.' or 'Amazon.' are reserved."
        ));
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Some(format!(
            "The message attribute name '{name}' is invalid. It can't start or end with a period, nor have successive \
             periods."
        ));
    }
    (name.len() > NAME_BYTES_MAX).then(|| {
        format!(
            "The length of message attribute name [{}] exceeds the allowed maximum [{NAME_BYTES_MAX}].",
            name.len()
        )
    })
}

fn fault_in_value(name: &str, Attribute { data_type, value }: &Attribute) -> Option<String> {
    let (kind, label) = data_type.split_once('.').map_or((data_type.as_str(), None), |(k, label)| (k, Some(label)));
    if !["String", "Number", "Binary"].contains(&kind) {
        return Some(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is \
             Binary, Number, and String."
        ));
    }
    if label == Some("") || data_type.len() > NAME_BYTES_MAX || !is_content(data_type) {
        return Some(format!(
            "The message attribute '{name}' has an invalid message attribute type: what follows the period has 1 to {} \
             bytes.",
            NAME_BYTES_MAX - kind.len() - 1
        ));
    }
    if value.is_empty() {
        return Some(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute type \
             '{data_type}'."
        ));
    }
    match kind {
        "Number" if !is_number(value) => {
            Some(format!("Can't cast the value of message (user) attribute '{name}' to a number."))
        }
        "String" if !is_content(value) => {
            Some(format!("Invalid characters found in the value of message attribute '{name}'."))
        }
        _ => None,
    }
}

/// Whether a text is a number as SQS accepts it: up to 38 digits of precision, between -10^128 and 10^126.
fn is_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let fits = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    text.len() <= NAME_BYTES_MAX && digits > 0 && text.bytes().all(fits) && number.is_some_and(|n| n.abs() <= 1e128)
}

impl NewMessage {
    /// The bytes that count towards the size limits: the body, and names, types and values of attributes.
    pub fn bytes(&self) -> usize {
        let attribute = |(name, attribute): (&String, &Attribute)| {
            let value = match attribute.is_binary() {
                true => attribute.value.trim_end_matches('=').len() * 3 / 4,
                false => attribute.value.len(),
            };
            name.len() + attribute.data_type.len() + value
        };
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, data_type: &str, value: &str) -> Option<String> {
        let attribute = Attribute { data_type: data_type.into(), value: value.into() };
        fault_in(&BTreeMap::from([(name.to_owned(), attribute)]))
    }

    #[test]
    fn attributes_have_names_types_and_values_as_the_service_allows() {
        for (name, data_type, value) in [
            ("a.b-c_D", "String", "x"),
            ("n", "Number.int", "-1.5e3"),
            ("b", "Binary.png", "AA=="),
            ("a", "String.x.y", "z"),
        ] {
            assert_eq!(fault(name, data_type, value), None, "{name}");
        }
        for (name, data_type, value, why) in [
            ("a", "String", "", "non-empty"),
            ("a", "Foo", "x", "set of supported type prefixes"),
            ("a", "String.", "x", "what follows the period"),
            ("a", "Number", "abc", "to a number"),
            ("a", "Number", "inf", "to a number"),
            ("a", "String", "\u{0}", "Invalid characters"),
            ("AWS.x", "String", "x", "reserved"),
            ("amazon.x", "String", "x", "reserved"),
            ("a..b", "String", "x", "successive"),
            (".a", "String", "x", "period"),
            ("ä", "String", "x", "A-Z, a-z"),
            ("", "String", "x", "A-Z, a-z"),
        ] {
            let said = fault(name, data_type, value).unwrap_or_default();
            assert!(said.contains(why), "{name} {data_type} {value:?}: {said}");
        }
        let many = (0..11).map(|n| (format!("a{n}"), Attribute::text("x"))).collect();
        assert_eq!(fault_in(&many).unwrap(), "Number of message attributes [11] exceeds the allowed maximum [10].");
    }

    #[test]
    fn bodies_have_the_characters_of_xml() {
        for (text, fits) in [
            ("a\t\r\nä😀\u{FFFD}", true),
            ("\u{0}", false),
            ("\u{FFFE}", false),
            ("\u{1F}", false),
            ("\u{10FFFF}", true),
        ] {
            assert_eq!(is_content(text), fits, "{text:?}");
        }
    }

    #[test]
    fn attributes_count_towards_the_size() {
        let attributes = BTreeMap::from([
            ("ab".to_owned(), Attribute::text("xyz")),
            ("b".to_owned(), Attribute { data_type: "Binary".into(), value: "AAAA".into() }),
        ]);
        let message = NewMessage { body: "body".into(), attributes, ..NewMessage::default() };
        assert_eq!(message.bytes(), 4 + (2 + 6 + 3) + (1 + 6 + 3));
    }
}
