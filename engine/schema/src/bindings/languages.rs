//! How each language spells names, types and texts.

use super::Language;
use super::model::{Declaration, Field, Model, Type, What};
use super::words::{distinct, go, pascal, snake};
use serde::Serialize;

/// The input of the templates.
#[derive(Serialize)]
pub(super) struct Context {
    /// The name of the schema.
    name: String,
    package: String,
    declarations: Vec<Declared>,
    /// Whether the types use times.
    times: bool,
    /// Whether the types use choices.
    choices: bool,
    /// Whether the types use words.
    words: bool,
    /// Whether there are names that a Go tag cannot hold.
    untagged: bool,
}

#[derive(Default, Serialize)]
struct Declared {
    name: String,
    doc: Vec<String>,
    /// `record`, `words`, `choice` or `alias`.
    what: &'static str,
    fields: Vec<Member>,
    words: Vec<Word>,
    types: Vec<Alternative>,
    is: String,
    /// For Go: whether all names are in tags.
    tagged: bool,
}

#[derive(Serialize)]
struct Member {
    name: String,
    /// The name in JSON as a literal; empty if it is the same.
    wire: String,
    renamed: bool,
    doc: Vec<String>,
    is: String,
    required: bool,
    /// For Go: whether a tag can hold its name in JSON.
    tagged: bool,
    /// For Python: the conversion from JSON, and to JSON.
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Word {
    name: String,
    wire: String,
}

#[derive(Serialize)]
struct Alternative {
    name: String,
    is: String,
}

const RUST_KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match",
    "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait",
    "true", "try", "type", "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

const PYTHON_KEYWORDS: &[&str] = &[
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "none",
    "true",
    "false",
    "self",
    "cls",
    "value",
    "from_dict",
    "to_dict",
];

/// Names of a language's own types, or used by templates.
const TAKEN: &[&str] = &[
    "Self",
    "Option",
    "Vec",
    "String",
    "Box",
    "Value",
    "None",
    "Some",
    "Serialize",
    "Deserialize",
    "Record",
    "Array",
    "Object",
    "Date",
    "Any",
    "Dict",
    "List",
    "Optional",
    "Union",
    "Enum",
    "BTreeMap",
    "Ok",
    "Err",
    "Result",
];

pub(super) fn context(model: &Model, language: Language, name: &str, package: &str) -> Context {
    let writer = Writer { model, language };
    let declarations: Vec<Declared> = (0..model.declarations.len()).map(|index| writer.declared(index)).collect();
    let has = |what: &str| declarations.iter().any(|declared| declared.what == what);
    let times = |declared: &Declared| {
        declared.is.contains("time.Time") || declared.fields.iter().any(|field| field.is.contains("time.Time"))
    };
    Context {
        name: one_line(name),
        package: package.to_owned(),
        times: declarations.iter().any(times),
        choices: has("choice"),
        words: has("words"),
        untagged: declarations.iter().any(|declared| declared.what == "record" && !declared.tagged),
        declarations,
    }
}

struct Writer<'m> {
    model: &'m Model,
    language: Language,
}

impl Writer<'_> {
    fn declared(&self, index: usize) -> Declared {
        let Declaration { doc, what, .. } = &self.model.declarations[index];
        let declared = Declared { name: self.type_name(index), doc: lines(doc.as_deref()), ..Declared::default() };
        match what {
            What::Record(fields) => {
                let fields = self.members(index, fields);
                let tagged = fields.iter().all(|field| field.tagged);
                Declared { what: "record", fields, tagged, ..declared }
            }
            What::Words(words) => Declared { what: "words", words: self.words(index, words), ..declared },
            What::Choice(types) => {
                let names = distinct(types.iter().map(|is| self.alternative_name(is)));
                let types = types.iter().zip(names);
                let types = types.map(|(is, name)| Alternative { name, is: self.boxed(index, is) }).collect();
                Declared { what: "choice", types, ..declared }
            }
            What::Alias(is) => Declared { what: "alias", is: self.is(is), ..declared },
        }
    }

    fn type_name(&self, index: usize) -> String {
        let name = &self.model.declarations[index].name;
        let name = if self.language == Language::Go { go(name) } else { name.clone() };
        if TAKEN.contains(&name.as_str()) { format!("{name}Type") } else { name }
    }

    fn members(&self, record: usize, fields: &[Field]) -> Vec<Member> {
        let mut fields: Vec<&Field> = fields.iter().collect();
        if self.language == Language::Python {
            fields.sort_by_key(|field| !field.required); // fields with defaults come last
        }
        let names = distinct(fields.iter().map(|field| self.field_name(&field.name)));
        let member = |(field, name): (&&Field, String)| {
            let renamed = name != field.name;
            Member {
                wire: self.literal(&field.name),
                renamed,
                tagged: fits_tag(&field.name),
                doc: lines(field.doc.as_deref()),
                is: self.field_type(record, field),
                required: field.required,
                from: self.read_field(field),
                to: self.written(&field.is, &format!("self.{name}")),
                name,
            }
        };
        fields.iter().zip(names).map(member).collect()
    }

    fn words(&self, index: usize, words: &[String]) -> Vec<Word> {
        let written = |word: &String| match self.language {
            Language::Python => match snake(word).to_ascii_uppercase() {
                name if name == "MRO" || name == "NAME" || name == "VALUE" => format!("{name}_"),
                name => name,
            },
            Language::Go => format!("{}{}", self.type_name(index), go(word)),
            _ => match pascal(word) {
                name if name == "Self" => "SelfValue".into(),
                name => name,
            },
        };
        let names = distinct(words.iter().map(written));
        words.iter().zip(names).map(|(word, name)| Word { name, wire: self.literal(word) }).collect()
    }

    fn field_name(&self, name: &str) -> String {
        let (written, keywords) = match self.language {
            Language::Rust => (snake(name), RUST_KEYWORDS),
            Language::Python => (snake(name), PYTHON_KEYWORDS),
            // A name must not be one of its methods, if it has some.
            Language::Go => match go(name) {
                name if name == "MarshalJSON" || name == "UnmarshalJSON" => return name + "Field",
                name => return name,
            },
            Language::TypeScript => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
                let plain =
                    name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty();
                return if plain { name.to_owned() } else { self.literal(name) };
            }
        };
        if keywords.contains(&written.as_str()) { written + "_" } else { written }
    }

    /// The type of a field, which may be missing.
    fn field_type(&self, record: usize, field: &Field) -> String {
        let is = self.boxed(record, &field.is);
        let may_be_nothing = matches!(field.is, Type::Nullable(_) | Type::Any);
        match self.language {
            _ if field.required => is,
            Language::Rust if !matches!(field.is, Type::Nullable(_)) => format!("Option<{is}>"),
            Language::Python if !may_be_nothing => format!("Optional[{is}]"),
            Language::Go if !may_be_nothing && self.is_value(&field.is) && !is.starts_with('*') => format!("*{is}"),
            _ => is,
        }
    }

    /// The type of a value inside a declaration: behind a pointer, if the declaration would contain itself without
    /// end.
    fn boxed(&self, holder: usize, is: &Type) -> String {
        let endless = is.held().is_some_and(|held| self.model.reaches(held, holder));
        match (self.language, is) {
            (Language::Rust, Type::Nullable(inner)) if endless => format!("Option<Box<{}>>", self.is(inner)),
            (Language::Rust, _) if endless => format!("Box<{}>", self.is(is)),
            (Language::Go, Type::Named(_)) if endless && self.is_value(is) => format!("*{}", self.is(is)),
            _ => self.is(is),
        }
    }

    /// For Go: whether it needs a pointer to be absent.
    fn is_value(&self, is: &Type) -> bool {
        match is {
            Type::Named(index) => !matches!(self.model.declarations[*index].what, What::Choice(_)),
            Type::List(_) | Type::Map(_) | Type::Any | Type::Nullable(_) => false,
            _ => true,
        }
    }

    fn is(&self, is: &Type) -> String {
        match self.language {
            Language::Rust => self.rust(is),
            Language::TypeScript => self.typescript(is),
            Language::Python => self.python(is),
            Language::Go => self.go(is),
        }
    }

    fn rust(&self, is: &Type) -> String {
        match is {
            Type::Any => "serde_json::Value".into(),
            Type::Boolean => "bool".into(),
            Type::Integer => "i64".into(),
            Type::Number => "f64".into(),
            Type::Text | Type::Time => "String".into(),
            Type::List(item) => format!("Vec<{}>", self.rust(item)),
            Type::Map(value) => format!("std::collections::BTreeMap<String, {}>", self.rust(value)),
            Type::Named(index) => self.type_name(*index),
            Type::Nullable(is) => format!("Option<{}>", self.rust(is)),
        }
    }

    fn typescript(&self, is: &Type) -> String {
        match is {
            Type::Any => "unknown".into(),
            Type::Boolean => "boolean".into(),
            Type::Integer | Type::Number => "number".into(),
            Type::Text | Type::Time => "string".into(),
            Type::List(item) if matches!(**item, Type::Nullable(_)) => format!("({})[]", self.typescript(item)),
            Type::List(item) => format!("{}[]", self.typescript(item)),
            Type::Map(value) => format!("Record<string, {}>", self.typescript(value)),
            Type::Named(index) => self.type_name(*index),
            Type::Nullable(is) => format!("{} | null", self.typescript(is)),
        }
    }

    fn python(&self, is: &Type) -> String {
        match is {
            Type::Any => "Any".into(),
            Type::Boolean => "bool".into(),
            Type::Integer => "int".into(),
            Type::Number => "float".into(),
            Type::Text | Type::Time => "str".into(),
            Type::List(item) => format!("List[{}]", self.python(item)),
            Type::Map(value) => format!("Dict[str, {}]", self.python(value)),
            Type::Named(index) => self.type_name(*index),
            Type::Nullable(is) => format!("Optional[{}]", self.python(is)),
        }
    }

    fn go(&self, is: &Type) -> String {
        match is {
            Type::Any => "any".into(),
            Type::Boolean => "bool".into(),
            Type::Integer => "int64".into(),
            Type::Number => "float64".into(),
            Type::Text => "string".into(),
            Type::Time => "time.Time".into(),
            Type::List(item) => format!("[]{}", self.go(item)),
            Type::Map(value) => format!("map[string]{}", self.go(value)),
            Type::Named(index) => self.type_name(*index),
            Type::Nullable(is) if self.is_value(is) => format!("*{}", self.go(is)),
            Type::Nullable(is) => self.go(is),
        }
    }

    /// For Python: the expression that reads a field from a JSON object.
    fn read_field(&self, field: &Field) -> String {
        if self.language != Language::Python {
            return String::new();
        }
        let wire = self.literal(&field.name);
        let (there, perhaps) = (format!("value[{wire}]"), format!("value.get({wire})"));
        match (field.required, self.read(&field.is, &there)) {
            (true, read) => read,
            (false, read) if read == there => perhaps,
            (false, _) => {
                let is = if let Type::Nullable(is) = &field.is { is } else { &field.is };
                format!("None if {perhaps} is None else {}", self.read(is, &there))
            }
        }
    }

    /// For Python: the expression that converts a variable from JSON; none if it needs no conversion.
    fn read(&self, is: &Type, variable: &str) -> String {
        match is {
            Type::Named(index) => match self.model.declarations[*index].what {
                What::Record(_) => format!("{}.from_dict({variable})", self.type_name(*index)),
                What::Words(_) => format!("{}({variable})", self.type_name(*index)),
                What::Choice(_) | What::Alias(_) => variable.to_owned(),
            },
            Type::List(item) => match self.read(item, "item") {
                same if same == "item" => variable.to_owned(),
                each => format!("[{each} for item in {variable}]"),
            },
            Type::Map(value) => match self.read(value, "item") {
                same if same == "item" => variable.to_owned(),
                each => format!("{{key: {each} for key, item in {variable}.items()}}"),
            },
            Type::Nullable(is) => match self.read(is, variable) {
                same if same == variable => same,
                other => format!("None if {variable} is None else {other}"),
            },
            _ => variable.to_owned(),
        }
    }

    /// For Python: the expression that converts a variable to JSON.
    fn written(&self, is: &Type, variable: &str) -> String {
        match is {
            Type::Named(index) => match self.model.declarations[*index].what {
                What::Record(_) => format!("{variable}.to_dict()"),
                What::Words(_) => format!("{variable}.value"),
                What::Choice(_) | What::Alias(_) => variable.to_owned(),
            },
            Type::List(item) => match self.written(item, "item") {
                same if same == "item" => variable.to_owned(),
                each => format!("[{each} for item in {variable}]"),
            },
            Type::Map(value) => match self.written(value, "item") {
                same if same == "item" => variable.to_owned(),
                each => format!("{{key: {each} for key, item in {variable}.items()}}"),
            },
            Type::Nullable(is) => match self.written(is, variable) {
                same if same == variable => same,
                other => format!("None if {variable} is None else {other}"),
            },
            _ => variable.to_owned(),
        }
    }

    /// The name of an alternative of a choice.
    fn alternative_name(&self, is: &Type) -> String {
        match is {
            Type::Any => "Other".into(),
            Type::Boolean => "Boolean".into(),
            Type::Integer => "Integer".into(),
            Type::Number => "Number".into(),
            Type::Text | Type::Time => "Text".into(),
            Type::List(_) => "List".into(),
            Type::Map(_) => "Map".into(),
            Type::Named(index) => self.type_name(*index),
            Type::Nullable(is) => self.alternative_name(is),
        }
    }

    /// A text as a string literal.
    fn literal(&self, text: &str) -> String {
        match self.language {
            Language::Rust => format!("{text:?}"),
            Language::Go => go_literal(text),
            _ => serde_json::Value::from(text).to_string(),
        }
    }
}

/// Whether a Go tag can hold a name: `encoding/json` accepts few punctuation marks in one, and reads `-` as no name.
fn fits_tag(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&()*+-./:;<=>?@[]^_{|}~ ".contains(c);
    !name.is_empty() && name != "-" && name.chars().all(fits)
}

/// A text as a Go string literal; characters that its compiler may refuse are escaped.
fn go_literal(text: &str) -> String {
    let letter = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        _ if u32::from(c) > 0xFFFF => format!("\\U{:08x}", u32::from(c)),
        _ => format!("\\u{:04x}", u32::from(c)),
    };
    format!("\"{}\"", text.chars().map(letter).collect::<String>())
}

/// The lines of a comment, changed so that they cannot end it.
fn lines(doc: Option<&str>) -> Vec<String> {
    let safe = |line: &str| {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        line.trim().replace("*/", "* /").replace('\\', "/").replace('"', "'")
    };
    doc.into_iter().flat_map(str::lines).map(safe).filter(|line| !line.is_empty()).collect()
}

fn one_line(text: &str) -> String {
    lines(Some(text)).join(" ")
}
