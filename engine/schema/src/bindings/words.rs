//! Names of a schema, spelled for each language.

/// The words in a name: `fakemon.captureAttempt` has three.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            before = None;
            continue;
        }
        let begins = match before {
            None => true,
            Some(before) => c.is_ascii_uppercase() && !before.is_ascii_uppercase(),
        };
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
        before = Some(c);
    }
    words
}

/// `CaptureAttempt`. Capitals are kept.
pub(crate) fn pascal(name: &str) -> String {
    let capital = |word: &String| word[..1].to_ascii_uppercase() + &word[1..];
    let joined: String = words(name).iter().map(capital).collect();
    match joined.bytes().next() {
        None => "Value".into(),
        Some(b'0'..=b'9') => format!("Value{joined}"),
        Some(_) => joined,
    }
}

/// `capture_attempt`.
pub(crate) fn snake(name: &str) -> String {
    let joined = words(name).iter().map(|word| word.to_ascii_lowercase()).collect::<Vec<_>>().join("_");
    match joined.bytes().next() {
        None => "value".into(),
        Some(b'0'..=b'9') => format!("value_{joined}"),
        Some(_) => joined,
    }
}

/// `CaptureAttemptID`, as Go spells it.
pub(crate) fn go(name: &str) -> String {
    const INITIALS: [&str; 9] = ["id", "url", "uri", "http", "json", "api", "ip", "uuid", "arn"];
    let word = |word: &String| {
        let small = word.to_ascii_lowercase();
        match INITIALS.contains(&small.as_str()) {
            true => small.to_ascii_uppercase(),
            false => word[..1].to_ascii_uppercase() + &word[1..],
        }
    };
    let joined: String = words(name).iter().map(word).collect();
    match joined.bytes().next() {
        None => "Value".into(),
        Some(b'0'..=b'9') => format!("Value{joined}"),
        Some(_) => joined,
    }
}

/// Makes names different: repeated ones get a number.
pub(crate) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    let mut distinct = |name: String| {
        let mut free = name.clone();
        let mut number = 2;
        while !taken.insert(free.clone()) {
            free = format!("{name}{number}");
            number += 1;
        }
        free
    };
    names.map(&mut distinct).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_each_language_does() {
        assert_eq!(pascal("fakemon.capture_attempt"), "FakemonCaptureAttempt");
        assert_eq!(
            (pascal("AWSEvent"), pascal("2nd"), pascal("…")),
            ("AWSEvent".into(), "Value2nd".into(), "Value".into())
        );
        assert_eq!(
            (snake("detail-type"), snake("orderId"), snake("1")),
            ("detail_type".into(), "order_id".into(), "value_1".into())
        );
        assert_eq!((go("fakemon_id"), go("imageUrl")), ("FakemonID".into(), "ImageURL".into()));
        assert_eq!(distinct(["a", "a", "a2", "a"].map(String::from).into_iter()), ["a", "a2", "a22", "a3"]);
    }
}
