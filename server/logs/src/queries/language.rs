//! Parser of the query language: commands separated by bars.
//!
//! ```text
//! query    = command ("|" command)*        a command may begin with a comment: "#" to the end of the line
//! command  = ("fields" | "display") field ("as" name)? ("," …)*
//!          | "filter" any
//!          | "sort" field ("asc" | "desc")? ("," …)*
//!          | ("limit" | "head") number
//! any      = all ("or" all)*      all = one ("and" one)*      one = "not" one | "(" any ")" | test
//! test     = "ispresent" "(" field ")" | field compared
//! compared = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | "not"? "like" (text | "/" regular expression "/")
//!          | "=~" "/" regular expression "/" | "not"? "in" "[" value ("," value)* "]"
//! ```

use regex::{Regex, RegexBuilder};
use std::cmp::Ordering;

/// The field that identifies a line; every row has it.
pub(super) const POINTER: &str = "@ptr";
/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 10_000;
/// How deep conditions may be nested.
const DEPTH_MAX: u32 = 32;
/// The memory of one regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A parsed query.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(super) fields: Vec<Field>,
    pub(super) filters: Vec<Condition>,
    pub(super) sort: Vec<Sort>,
    pub limit: Option<usize>,
}

/// A field, and the name under which it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub name: String,
    pub shown: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub field: String,
    pub(super) descending: bool,
}

#[derive(Debug)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Present(String),
    Compared { field: String, is: &'static [Ordering], value: String },
    Like { field: String, regex: Regex },
    Holds { field: String, text: String },
    In { field: String, values: Vec<String> },
}

/// Compares numbers by value, everything else as text.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
    numbers.and_then(|(one, other)| one.partial_cmp(&other)).unwrap_or_else(|| one.cmp(other))
}

impl Condition {
    pub(crate) fn holds(&self, field_of: &dyn Fn(&str) -> Option<String>) -> bool {
        match self {
            Condition::Any(conditions) => conditions.iter().any(|one| one.holds(field_of)),
            Condition::All(conditions) => conditions.iter().all(|one| one.holds(field_of)),
            Condition::Not(condition) => !condition.holds(field_of),
            Condition::Present(field) => field_of(field).is_some(),
            Condition::Compared { field, is, value } => {
                field_of(field).is_some_and(|found| is.contains(&compare(&found, value)))
            }
            Condition::Like { field, regex } => field_of(field).is_some_and(|found| regex.is_match(&found)),
            Condition::Holds { field, text } => field_of(field).is_some_and(|found| found.contains(text)),
            Condition::In { field, values } => field_of(field).is_some_and(|found| values.contains(&found)),
        }
    }
}

impl Query {
    /// Parses a query; the error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Query, String> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(format!("a query has at most {QUERY_BYTES_MAX} bytes"));
        }
        let mut parser = Parser { rest: text, depth: 0 };
        let (mut query, mut displayed) = (Query::default(), Vec::new());
        loop {
            parser.command(&mut query, &mut displayed)?;
            if !parser.take("|") {
                break;
            }
        }
        if !parser.at_end() {
            return Err(parser.unexpected("| or the end"));
        }
        if !displayed.is_empty() {
            query.fields = displayed.into_iter().map(|field| query.field(field)).collect();
        }
        if query.fields.is_empty() {
            query.fields = ["@timestamp", "@message"].map(Field::plain).into();
        }
        query.fields.retain(|field| field.name != POINTER);
        Ok(query)
    }

    /// The field that a name refers to: the one renamed by `as`, or itself.
    pub(super) fn meant<'q>(&'q self, name: &'q str) -> &'q str {
        self.fields.iter().find(|field| field.shown == name).map_or(name, |field| field.name.as_str())
    }

    /// Resolves the name of a displayed field.
    fn field(&self, displayed: Field) -> Field {
        let name = self.meant(&displayed.name).to_owned();
        Field { name, shown: displayed.shown }
    }
}

impl Field {
    pub(crate) fn plain(name: &str) -> Field {
        Field { name: name.into(), shown: name.into() }
    }
}

struct Parser<'q> {
    rest: &'q str,
    depth: u32,
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '@')
}

impl<'q> Parser<'q> {
    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix('#') {
                Some(comment) => self.rest = comment.split_once('\n').map_or("", |(_, behind)| behind),
                None => return,
            }
        }
    }

    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes a keyword, ignoring case.
    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.rest.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
        let ends = found && !self.rest[word.len()..].starts_with(is_of_name);
        if ends {
            self.rest = &self.rest[word.len()..];
        }
        ends
    }

    fn unexpected(&self, expected: &str) -> String {
        let found: String = self.rest.chars().take(20).collect();
        format!("unexpected symbol found `{found}`: {expected} was expected")
    }

    fn command(&mut self, query: &mut Query, displayed: &mut Vec<Field>) -> Result<(), String> {
        if self.word("fields") {
            query.fields.extend(self.fields()?);
        } else if self.word("display") {
            *displayed = self.fields()?;
        } else if self.word("filter") {
            query.filters.push(self.any()?);
        } else if self.word("sort") || self.word("order") {
            self.word("by");
            query.sort = self.sorts()?;
        } else if self.word("limit") || self.word("head") {
            let number = self.value()?;
            let limit = number.parse().ok().filter(|limit| (1..=10_000).contains(limit));
            query.limit = Some(limit.ok_or_else(|| format!("limit is a number from 1 to 10000, not `{number}`"))?);
        } else {
            let what = "one of the commands that are here (fields, display, filter, sort, limit)";
            return Err(self.unexpected(what));
        }
        Ok(())
    }

    fn fields(&mut self) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        loop {
            let name = self.name()?;
            let shown = if self.word("as") { self.name()? } else { name.clone() };
            fields.push(Field { name, shown });
            if !self.take(",") {
                return Ok(fields);
            }
        }
    }

    fn sorts(&mut self) -> Result<Vec<Sort>, String> {
        let mut sorts = Vec::new();
        loop {
            let field = self.name()?;
            let descending = self.word("desc") || !self.word("asc");
            sorts.push(Sort { field, descending });
            if !self.take(",") {
                return Ok(sorts);
            }
        }
    }

    /// A field name: letters, digits, dots; anything between backquotes.
    fn name(&mut self) -> Result<String, String> {
        self.skip_space();
        if let Some(quoted) = self.rest.strip_prefix('`') {
            let (name, behind) = quoted.split_once('`').ok_or("a backquote is missing")?;
            self.rest = behind;
            return Ok(name.to_owned());
        }
        let end = self.rest.find(|c| !is_of_name(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.unexpected("a field"));
        }
        let (name, behind) = self.rest.split_at(end);
        self.rest = behind;
        Ok(name.to_owned())
    }

    fn any(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("conditions are nested deeper than {DEPTH_MAX}"));
        }
        let mut conditions = vec![self.all()?];
        while self.word("or") {
            conditions.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Condition::Any(conditions))
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut conditions = vec![self.one()?];
        while self.word("and") {
            conditions.push(self.one()?);
        }
        Ok(Condition::All(conditions))
    }

    fn one(&mut self) -> Result<Condition, String> {
        let mut negated = false;
        while self.word("not") {
            negated = !negated;
        }
        let condition = if self.take("(") {
            let inner = self.any()?;
            if !self.take(")") {
                return Err(self.unexpected(")"));
            }
            inner
        } else if self.word("ispresent") {
            let taken = self.take("(");
            let field = self.name()?;
            if !taken || !self.take(")") {
                return Err(self.unexpected("ispresent(field)"));
            }
            Condition::Present(field)
        } else {
            self.test()?
        };
        Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
    }

    fn test(&mut self) -> Result<Condition, String> {
        let field = self.name()?;
        let negated = self.word("not");
        let condition = if self.word("like") || self.take("=~") {
            self.skip_space();
            match self.rest.starts_with('/') {
                true => Condition::Like { field, regex: self.regex()? },
                false => Condition::Holds { field, text: self.value()? },
            }
        } else if self.word("in") {
            Condition::In { field, values: self.list()? }
        } else if negated {
            return Err(self.unexpected("like or in"));
        } else {
            return self.comparison(field);
        };
        Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
    }

    fn comparison(&mut self, field: String) -> Result<Condition, String> {
        use Ordering::{Equal, Greater, Less};
        const SIGNS: [(&str, &[Ordering]); 6] = [
            ("!=", &[Less, Greater]),
            ("<=", &[Less, Equal]),
            (">=", &[Greater, Equal]),
            ("=", &[Equal]),
            ("<", &[Less]),
            (">", &[Greater]),
        ];
        let found = SIGNS.into_iter().find(|(sign, _)| self.take(sign));
        let (_, is) = found.ok_or_else(|| self.unexpected("=, !=, <, <=, >, >=, like, =~ or in"))?;
        Ok(Condition::Compared { field, is, value: self.value()? })
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        if !self.take("[") {
            return Err(self.unexpected("["));
        }
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        if self.take("]") { Ok(values) } else { Err(self.unexpected(", or ]")) }
    }

    /// A text between quotation marks of either kind, or a number.
    fn value(&mut self) -> Result<String, String> {
        self.skip_space();
        if let Some(mark) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            return self.until(mark);
        }
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')));
        let (value, behind) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if value.is_empty() {
            return Err(self.unexpected("a value"));
        }
        self.rest = behind;
        Ok(value.to_owned())
    }

    fn regex(&mut self) -> Result<Regex, String> {
        let text = self.until('/')?;
        let regex = RegexBuilder::new(&text).size_limit(REGEX_BYTES_MAX).build();
        regex.map_err(|_| format!("/{text}/ is no regular expression"))
    }

    /// The text up to the next `mark`; a backslash escapes the mark.
    fn until(&mut self, mark: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == mark {
                self.rest = &self.rest[at + c.len_utf8()..];
                return Ok(text);
            }
            match chars.peek() {
                Some((_, next)) if c == '\\' && (*next == mark || (mark != '/' && *next == '\\')) => {
                    text.push(*next);
                    chars.next();
                }
                _ => text.push(c),
            }
        }
        Err(format!("{mark} is missing at the end of a text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: &str) -> bool {
        let field = |name: &str| match name {
            "@message" => Some("ERROR say \"hi\"".to_owned()),
            "level" => Some("error".to_owned()),
            "took" => Some("12.5".to_owned()),
            _ => None,
        };
        Query::parse(&format!("filter {filter}")).unwrap().filters.iter().all(|one| one.holds(&field))
    }

    #[test]
    fn conditions_hold_as_they_say() {
        for (filter, is) in [
            ("level = 'error'", true),
            ("level != \"error\"", false),
            ("took > 9 and took <= 12.50", true),
            ("took < 9 or level in [\"warn\", 'error']", true),
            ("level not in ['error']", false),
            ("@message like /ERR.R/", true),
            ("@message like \"hi\"", true),
            (r#"@message like "say \"hi\"""#, true),
            ("@message not like /x/", true),
            ("@message =~ /x/", false),
            ("ispresent(level) and not ispresent(other)", true),
            ("NOT (level = 'error' OR took = 1)", false),
            ("other = 1", false),
        ] {
            assert_eq!(holds(filter), is, "{filter}");
        }
    }

    #[test]
    fn a_query_says_what_is_shown_in_which_order_and_how_much() {
        let query = Query::parse(
            "# a comment\nfields @timestamp, detail.player as who, `a-b` | sort who asc, @timestamp\n| limit 20",
        )
        .unwrap();
        assert_eq!(query.fields[1], Field { name: "detail.player".into(), shown: "who".into() });
        assert_eq!((query.meant("who"), query.fields[2].name.as_str()), ("detail.player", "a-b"));
        assert_eq!(query.sort[0], Sort { field: "who".into(), descending: false });
        assert_eq!((query.sort[1].descending, query.limit), (true, Some(20)));
        let query = Query::parse("fields a as b | display b").unwrap();
        assert_eq!(query.fields, [Field { name: "a".into(), shown: "b".into() }]);
        assert_eq!(Query::parse("limit 1").unwrap().fields, ["@timestamp", "@message"].map(Field::plain));
    }

    #[test]
    fn what_is_no_query_is_told_where_it_ends_to_be_one() {
        for (text, says) in [
            ("test", "`test`: one of the commands"),
            ("", "one of the commands"),
            ("stats count(*)", "one of the commands"),
            ("fields", "a field"),
            ("fields a b", "| or the end"),
            ("limit 0", "from 1 to 10000"),
            ("filter a", "=, !="),
            ("filter a like /(/", "no regular expression"),
            ("filter a = 'x", "' is missing"),
            ("filter (a = 1", ") was expected"),
        ] {
            let error = Query::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Query::parse(&format!("filter {}a = 1", "(".repeat(500))).unwrap_err().contains("nested"));
    }
}
