//! Where a text stops to be JSON, in words for its sender: `at byte 9 (line 1, column 9): a value was expected`. Only
//! this file knows the parser's own words.

/// What was expected, and where; `text` is what was parsed. Bytes, lines and columns count from 1; a column is one
/// byte.
pub fn expected(error: &serde_json::Error, text: &[u8]) -> String {
    if text.trim_ascii().is_empty() {
        return "it is empty".into();
    }
    let (line, column) = (error.line(), error.column());
    let before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len);
    let byte = before.sum::<usize>() + column;
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    format!("at byte {byte} (line {line}, column {column}): {}", wanted(said))
}

fn wanted(said: &str) -> String {
    let words = match said {
        "EOF while parsing a list" => "it ends inside of a list: `,` or `]` was expected",
        "EOF while parsing an object" => "it ends inside of an object: `,` or `}` was expected",
        "EOF while parsing a string" => "it ends inside of a string: `\"` was expected",
        "EOF while parsing a value" => "it ends here: a value was expected",
        "expected ident" => "`true`, `false` or `null` was expected",
        "expected value" => "a value was expected",
        "invalid escape" => "an escape of JSON was expected after the backslash, as \\n or \\u00e9",
        "invalid number" => "a number was expected, as 1, -0.5 or 1e9",
        "number out of range" => "a number from -1.7e308 to 1.7e308 was expected",
        "invalid unicode code point" => "valid Unicode was expected",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a control character must be escaped in a string, as \\n or \\u0001"
        }
        "key must be a string" => "the name of a member was expected, in double quotes",
        "lone leading surrogate in hex escape" => {
            "the other half of a surrogate pair was expected, as in \\ud83d\\ude00"
        }
        "unexpected end of hex escape" => "four hexadecimal digits were expected after \\u",
        "trailing comma" => "after a comma something more was expected",
        "trailing characters" => "the end was expected: something follows the value",
        "recursion limit exceeded" => "less nesting was expected: at most 127 levels",
        said if said.starts_with("expected ") => return format!("{} was expected", &said["expected ".len()..]),
        said => said,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn it_says_where_and_what_was_expected_and_none_of_the_parsers_words() {
        let deep = "[".repeat(200);
        for (text, said) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("{\n\"a\":}", "at byte 7 (line 2, column 5): a value was expected"),
            ("[1", "at byte 2 (line 1, column 2): it ends inside of a list: `,` or `]` was expected"),
            ("{\"a\" 1}", "at byte 6 (line 1, column 6): `:` was expected"),
            ("{\"a\":1} x", "at byte 9 (line 1, column 9): the end was expected: something follows the value"),
            ("nil", "at byte 2 (line 1, column 2): `true`, `false` or `null` was expected"),
            ("{a:1}", "at byte 2 (line 1, column 2): the name of a member was expected, in double quotes"),
            ("[1e999]", "a number from -1.7e308 to 1.7e308 was expected"),
            ("[1,]", "after a comma something more was expected"),
            ("\"\\x\"", "an escape of JSON was expected"),
            ("\"\\ud83d\"", "four hexadecimal digits were expected"),
            ("\"\t\"", "a control character must be escaped"),
            ("[01]", "a number was expected"),
            (&deep, "less nesting was expected"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            let told = expected(&error, text.as_bytes());
            assert!(told.contains(said), "{text}: {told} ({error})");
            assert!(!told.contains("EOF") && !told.contains("trailing") && !told.contains("recursion"), "{told}");
        }
    }
}
