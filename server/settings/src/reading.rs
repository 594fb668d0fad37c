//! A settings file that cannot be read, in words for operators: which setting, on which line, what it must be. The
//! words of the parsers are for programmers, and are translated here.

use crate::error::ConfigError;
use crate::settings_file::line_at;
use toml::de::{DeTable, DeValue};

/// Settings that are tables. A list in their place would be taken for their settings in the order of the code.
const TABLES: [&str; 11] =
    ["log", "world", "journal", "auth", "aws", "bus", "tls", "limits", "thresholds", "connections", "demo"];
/// Settings that are one of a few words.
const WORDS: [(&str, &str); 2] =
    [("log.format", "`text` or `json`"), ("journal.durability", "`synced` or `unsynced`")];

/// The error of a parser, located and translated.
pub(crate) fn unread(text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let table = DeTable::parse(text).ok();
    let key = table.as_ref().and_then(|table| key_at(table.get_ref(), at));
    located(text, at, &plain(key.as_deref(), &error.message().replace('\n', " ")))
}

fn located(text: &str, at: usize, what: &str) -> ConfigError {
    let (line, source) = line_at(text, at);
    ConfigError::of_file(format!("line {line} (`{source}`): {what}; `fakemon config` shows every setting"))
}

/// Checks that tables are tables and words are words, which a parser takes in other shapes too.
pub(crate) fn check_shapes(text: &str) -> Result<(), ConfigError> {
    let Ok(table) = DeTable::parse(text) else { return Ok(()) }; // refused with its own reason
    for (name, value) in table.get_ref() {
        let (name, at) = (name.get_ref().as_ref(), name.span().start);
        if TABLES.contains(&name) && value.get_ref().as_table().is_none() {
            let what = format!("{name} must be a table of settings: write [{name}], and its settings below");
            return Err(located(text, at, &what));
        }
        for (key, value) in value.get_ref().as_table().into_iter().flatten() {
            let full = format!("{name}.{}", key.get_ref());
            let words = WORDS.iter().find(|(setting, _)| *setting == full);
            if let Some((_, words)) = words.filter(|_| !matches!(value.get_ref(), DeValue::String(_))) {
                return Err(located(text, key.span().start, &format!("{full} must be {words}, in quotes")));
            }
        }
    }
    Ok(())
}

/// The dotted name of the setting whose name or value is at a byte.
fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let inner = value.get_ref().as_table().and_then(|table| key_at(table, at));
        let is_here = name.span().contains(&at) || value.span().contains(&at);
        match inner {
            Some(inner) => Some(format!("{}.{inner}", name.get_ref())),
            None => is_here.then(|| name.get_ref().to_string()),
        }
    })
}

/// What a parser says, as what the setting must be.
fn plain(key: Option<&str>, said: &str) -> String {
    let name = key.unwrap_or("this");
    let between = |start: &str, end: &str| {
        let rest = said.strip_prefix(start)?;
        rest.split_once(end)
    };
    if let Some((unknown, _)) = between("unknown field `", "`") {
        return format!("there is no setting {}", key.filter(|key| key.ends_with(unknown)).unwrap_or(unknown));
    }
    if let Some((given, wanted)) = between("unknown variant `", "`, expected ") {
        return format!("{name} must be {wanted}, not `{given}`");
    }
    let wrong = between("invalid type: ", ", expected ").or_else(|| between("invalid value: ", ", expected "));
    if let Some((given, wanted)) = wrong {
        return format!("{name} must be {}, not {}", wanted_words(wanted), given_words(given));
    }
    if said.starts_with("duplicate key") {
        return format!("{name} is set twice: leave one of them");
    }
    if said.starts_with("wanted ") {
        return format!("{name} must be a text in quotes");
    }
    match key {
        Some(key) if !said.contains(key) => format!("{key}: {said}"),
        _ => said.to_owned(),
    }
}

fn wanted_words(wanted: &str) -> String {
    match wanted {
        "a string" => "a text in quotes".into(),
        "path string" => "a path in quotes".into(),
        "a boolean" => "true or false".into(),
        "f64" | "f32" => "a number".into(),
        "usize" | "u64" => format!("a whole number from 0 to {}", i64::MAX), // more than TOML has
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u8" => "a whole number from 0 to 255".into(),
        other if other.starts_with("struct ") => "a table of settings".into(),
        other => other.to_owned(),
    }
}

/// A value as a parser names it: `string "far"`, `floating point \`3.5\``, `sequence`.
fn given_words(given: &str) -> String {
    match given.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some((_, value)) if value.contains('`') => value.rsplit('`').nth(1).unwrap_or(value).to_owned(),
        _ if given == "sequence" => "a list".into(),
        _ if given == "map" => "a table".into(),
        _ => given.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_parser_says_becomes_what_the_setting_must_be() {
        for (key, said, expected) in [
            (Some("limits.requests_max"), "invalid value: integer `-1`, expected usize", "a whole number from 0"),
            (Some("world.reach_m"), "invalid type: string \"far\", expected f64", "a number, not the text \"far\""),
            (Some("dev"), "invalid type: integer `1`, expected a boolean", "dev must be true or false, not 1"),
            (
                Some("data"),
                "invalid type: sequence, expected path string",
                "data must be a path in quotes, not a list",
            ),
            (Some("world.reach"), "unknown field `reach`, expected one of `a`", "there is no setting world.reach"),
            (Some("log.format"), "unknown variant `xml`, expected `text` or `json`", "must be `text` or `json`"),
            (None, "invalid array", "invalid array"),
        ] {
            let told = plain(key, said);
            assert!(told.contains(expected), "{said}: {told}");
        }
    }

    #[test]
    fn a_list_is_no_table_and_a_word_no_table() {
        for (text, expected) in [
            ("world = [50.0]", "line 1 (`world = [50.0]`): world must be a table of settings: write [world]"),
            ("dev = true\nlog = 3", "line 2 (`log = 3`): log must be a table"),
            ("[journal]\ndurability = { synced = {} }", "journal.durability must be `synced` or `unsynced`"),
        ] {
            let said = check_shapes(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
