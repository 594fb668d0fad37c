//! FlatBuffers schemas: the part of the language that is needed for tables, structs, enums and unions, their form as
//! JSON, and which changes keep old buffers readable.

use super::SchemaError;
use super::compatible::Incompatibility;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A FlatBuffers schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flat {
    declarations: Vec<Declaration>,
    root: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Declaration {
    name: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Table(Vec<Field>),
    Struct(Vec<Field>),
    Enum { of: String, values: Vec<(String, i128)>, flags: bool },
    Union(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    of: String,
    vector: bool,
    /// From `id` if it is given, else the index in the table.
    id: u64,
    default: Option<String>,
    required: bool,
    deprecated: bool,
    doc: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
    Doc(String),
}

fn wrong(line: usize, why: impl Into<String>) -> SchemaError {
    SchemaError::new(format!("line {line}"), why)
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SchemaError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        let length = match first {
            '\n' => {
                line += 1;
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            '/' if rest.starts_with("//") => {
                let comment = rest.lines().next().unwrap_or(rest);
                if let Some(doc) = comment.strip_prefix("///") {
                    tokens.push((line, Token::Doc(doc.trim().to_owned())));
                }
                comment.len()
            }
            '/' if rest.starts_with("/*") => {
                let end = rest.find("*/").ok_or_else(|| wrong(line, "a comment has no end"))? + 2;
                line += rest[..end].matches('\n').count();
                end
            }
            '"' => {
                let end = rest[1..].find('"').ok_or_else(|| wrong(line, "a text has no end"))?;
                tokens.push((line, Token::Text(rest[1..=end].to_owned())));
                end + 2
            }
            c if word(c) => {
                let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                tokens.push((line, Token::Word(rest[..end].to_owned())));
                end
            }
            c => {
                tokens.push((line, Token::Sign(c)));
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
    line: usize,
    doc: Option<String>,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        while let Some((_, Token::Doc(_))) = self.tokens.peek() {
            if let Some((_, Token::Doc(doc))) = self.tokens.next() {
                let before = self.doc.take().map(|before| before + " ");
                self.doc = Some(before.unwrap_or_default() + &doc);
            }
        }
        let (line, token) = self.tokens.next()?;
        self.line = line;
        Some(token)
    }

    fn is(&mut self, sign: char) -> bool {
        while let Some((_, Token::Doc(_))) = self.tokens.peek() {
            self.tokens.next();
        }
        let there = matches!(self.tokens.peek(), Some((_, Token::Sign(next))) if *next == sign);
        if there {
            self.tokens.next();
        }
        there
    }

    fn sign(&mut self, sign: char) -> Result<(), SchemaError> {
        match self.next() {
            Some(Token::Sign(next)) if next == sign => Ok(()),
            other => Err(wrong(self.line, format!("`{sign}` is missing before {}", shown(other)))),
        }
    }

    fn word(&mut self, what: &str) -> Result<String, SchemaError> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(wrong(self.line, format!("{what} is missing before {}", shown(other)))),
        }
    }

    /// `(id: 1, required)`.
    fn attributes(&mut self) -> Result<Vec<(String, Option<String>)>, SchemaError> {
        let mut attributes = Vec::new();
        if self.is('(') {
            while !self.is(')') {
                let name = self.word("an attribute")?;
                let value = match self.is(':') {
                    true => match self.next() {
                        Some(Token::Word(value) | Token::Text(value)) => Some(value),
                        other => return Err(wrong(self.line, format!("a value is missing before {}", shown(other)))),
                    },
                    false => None,
                };
                attributes.push((name, value));
                if !self.is(',') {
                    self.sign(')')?;
                    break;
                }
            }
        }
        Ok(attributes)
    }

    fn fields(&mut self) -> Result<Vec<Field>, SchemaError> {
        self.attributes()?;
        self.sign('{')?;
        let mut fields = Vec::new();
        while !self.is('}') {
            self.doc = None;
            let name = self.word("a field")?;
            let doc = self.doc.take();
            self.sign(':')?;
            let vector = self.is('[');
            let of = self.word("a type")?;
            if vector {
                if self.is(':') {
                    self.word("a length")?;
                }
                self.sign(']')?;
            }
            let default = match self.is('=') {
                true => Some(self.word("a default")?),
                false => None,
            };
            let attributes = self.attributes()?;
            self.sign(';')?;
            let has = |name: &str| attributes.iter().any(|(attribute, _)| attribute == name);
            let id = attributes.iter().find(|(name, _)| name == "id").and_then(|(_, id)| id.as_ref()?.parse().ok());
            fields.push(Field {
                of: base(&of).to_owned(),
                id: id.unwrap_or(fields.len() as u64),
                required: has("required") || has("key"),
                deprecated: has("deprecated"),
                name,
                vector,
                default,
                doc,
            });
        }
        fields.sort_by_key(|field| field.id);
        Ok(fields)
    }

    fn values(&mut self) -> Result<Vec<(String, i128)>, SchemaError> {
        self.sign('{')?;
        let (mut values, mut next) = (Vec::new(), 0_i128);
        while !self.is('}') {
            let name = self.word("a value")?;
            if self.is('=') {
                let number = self.word("a number")?;
                next = number.parse().map_err(|_| wrong(self.line, format!("{number} is no whole number")))?;
            }
            self.attributes()?;
            values.push((name, next));
            next = next.saturating_add(1);
            if !self.is(',') {
                self.sign('}')?;
                break;
            }
        }
        Ok(values)
    }
}

/// `fakemon.play.Look` as `Look`.
fn base(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn shown(token: Option<Token>) -> String {
    match token {
        None => "the end".into(),
        Some(Token::Word(word)) => format!("`{word}`"),
        Some(Token::Text(text)) => format!("\"{text}\""),
        Some(Token::Sign(sign)) => format!("`{sign}`"),
        Some(Token::Doc(_)) => "a comment".into(),
    }
}

impl Flat {
    pub(crate) fn read(text: &str) -> Result<Flat, SchemaError> {
        let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), line: 1, doc: None };
        let mut flat = Flat { declarations: Vec::new(), root: None };
        while let Some(token) = parser.next() {
            let Token::Word(word) = token else {
                return Err(wrong(
                    parser.line,
                    format!("a declaration begins with a word, not {}", shown(Some(token))),
                ));
            };
            flat.declaration(&mut parser, &word)?;
        }
        flat.check_names()?;
        Ok(flat)
    }

    fn declaration(&mut self, parser: &mut Parser, word: &str) -> Result<(), SchemaError> {
        let what = match word {
            "namespace" => {
                if !parser.is(';') {
                    parser.word("a name")?;
                    parser.sign(';')?;
                }
                return Ok(());
            }
            "attribute" | "file_identifier" | "file_extension" => {
                parser.next();
                return parser.sign(';');
            }
            "root_type" => {
                self.root = Some(base(&parser.word("a name")?).to_owned());
                return parser.sign(';');
            }
            "include" | "native_include" => {
                let why = "nothing is ever fetched: copy what is included into this schema";
                return Err(wrong(parser.line, why));
            }
            "rpc_service" => return Err(wrong(parser.line, "services are no events: leave them out")),
            "table" | "struct" | "enum" | "union" => word,
            other => return Err(wrong(parser.line, format!("`{other}` begins no declaration"))),
        };
        let name = parser.word("a name")?;
        let what = match what {
            "table" => What::Table(parser.fields()?),
            "struct" => What::Struct(parser.fields()?),
            "enum" => {
                parser.sign(':')?;
                let of = parser.word("a type")?;
                let attributes = parser.attributes()?;
                let flags = attributes.iter().any(|(name, _)| name == "bit_flags");
                What::Enum { of, values: parser.values()?, flags }
            }
            _ => {
                parser.attributes()?;
                parser.sign('{')?;
                let mut members = Vec::new();
                while !parser.is('}') {
                    let member = parser.word("a member")?;
                    // `Name: Type` gives a member a name of its own.
                    let member = if parser.is(':') { parser.word("a type")? } else { member };
                    members.push(base(&member).to_owned());
                    if !parser.is(',') {
                        parser.sign('}')?;
                        break;
                    }
                }
                What::Union(members)
            }
        };
        self.declarations.push(Declaration { name, what });
        Ok(())
    }

    fn check_names(&self) -> Result<(), SchemaError> {
        let known: BTreeSet<&str> = self.declarations.iter().map(|declaration| declaration.name.as_str()).collect();
        if known.is_empty() {
            return Err(SchemaError::new("Content", "it declares nothing: no table, struct, enum or union"));
        }
        if known.len() < self.declarations.len() {
            return Err(SchemaError::new("Content", "two declarations have one name"));
        }
        for Declaration { name, what } in &self.declarations {
            let used: Vec<&str> = match what {
                What::Table(fields) | What::Struct(fields) => fields.iter().map(|field| field.of.as_str()).collect(),
                What::Union(members) => members.iter().map(String::as_str).collect(),
                What::Enum { .. } => Vec::new(),
            };
            if let Some(missing) = used.iter().find(|used| !known.contains(*used) && scalar(used).is_none()) {
                return Err(SchemaError::new(name, format!("nothing here is named {missing}")));
            }
        }
        match self.root.as_deref().filter(|root| !known.contains(root)) {
            Some(root) => Err(SchemaError::new("root_type", format!("nothing here is named {root}"))),
            None => Ok(()),
        }
    }

    fn declared(&self, name: &str) -> Option<&What> {
        self.declarations.iter().find(|declaration| declaration.name == name).map(|declaration| &declaration.what)
    }

    /// The schema of its root as JSON; without a root, of the last table that no other uses.
    pub(crate) fn json_schema(&self) -> Value {
        let definitions: Map<String, Value> = self
            .declarations
            .iter()
            .map(|declaration| (declaration.name.clone(), self.declared_schema(&declaration.what)))
            .collect();
        let mut tables = self.declarations.iter().filter(|declaration| matches!(declaration.what, What::Table(_)));
        let root = self.root.as_deref().or(tables.next_back().map(|table| table.name.as_str()));
        let mut schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "definitions": definitions,
        });
        if let Some(root) = root {
            schema["title"] = root.into();
            schema["allOf"] = json!([{ "$ref": format!("#/definitions/{root}") }]);
        }
        schema
    }

    fn declared_schema(&self, what: &What) -> Value {
        match what {
            What::Table(fields) | What::Struct(fields) => {
                let all = matches!(what, What::Struct(_));
                let there = fields.iter().filter(|field| !field.deprecated);
                let mut properties = Map::new();
                let mut required = Vec::new();
                for field in there {
                    if all || field.required {
                        required.push(field.name.clone());
                    }
                    if !field.vector && matches!(self.declared(&field.of), Some(What::Union(_))) {
                        properties.insert(format!("{}_type", field.name), json!({ "type": "string" }));
                    }
                    properties.insert(field.name.clone(), self.field_schema(field));
                }
                let mut schema = json!({ "type": "object", "properties": properties });
                if !required.is_empty() {
                    schema["required"] = json!(required);
                }
                schema
            }
            What::Enum { flags: true, .. } => json!({ "type": ["string", "integer"] }),
            What::Enum { values, .. } => {
                json!({ "type": "string", "enum": values.iter().map(|(name, _)| name).collect::<Vec<_>>() })
            }
            What::Union(members) => {
                let members = members.iter().map(|name| match scalar(name) {
                    Some(schema) => schema,
                    None => json!({ "$ref": format!("#/definitions/{name}") }),
                });
                json!({ "anyOf": members.collect::<Vec<_>>() })
            }
        }
    }

    fn field_schema(&self, field: &Field) -> Value {
        let mut schema = match scalar(&field.of) {
            Some(scalar) => scalar,
            None => json!({ "$ref": format!("#/definitions/{}", field.of) }),
        };
        if field.vector {
            schema = json!({ "type": "array", "items": schema });
        }
        if let Some(doc) = &field.doc
            && schema.get("$ref").is_none()
        {
            schema["description"] = doc.as_str().into();
        }
        schema
    }

    /// Why readers of `reader` cannot read buffers that writers of `self` wrote.
    pub(crate) fn unreadable_by(&self, reader: &Flat) -> Vec<Incompatibility> {
        let mut found = Vec::new();
        let mut say = |path: String, why: String| found.push(Incompatibility { path, why });
        for Declaration { name, what } in &reader.declarations {
            match (self.declared(name), what) {
                (None, _) => {}
                (Some(What::Table(written)), What::Table(read)) => {
                    tables(name, written, read, &mut say);
                }
                (Some(What::Struct(written)), What::Struct(read)) => {
                    let layout = |fields: &[Field]| {
                        fields
                            .iter()
                            .map(|field| (field.name.clone(), field.of.clone(), field.vector))
                            .collect::<Vec<_>>()
                    };
                    if layout(written) != layout(read) {
                        say(name.clone(), "is a struct, and the layout of structs never changes".into());
                    }
                }
                (Some(What::Enum { of: written, values, .. }), What::Enum { of: read, values: known, .. }) => {
                    if written != read {
                        say(name.clone(), format!("was written as {written}, is read as {read}"));
                    }
                    for (value, number) in values {
                        match known.iter().find(|(_, known)| known == number) {
                            None => say(format!("{name}.{value}"), "is not known to the reader".into()),
                            Some((read, _)) if read != value => {
                                say(format!("{name}.{value}"), format!("is read as {read}"));
                            }
                            Some(_) => {}
                        }
                    }
                }
                (Some(What::Union(written)), What::Union(read)) => {
                    for (index, member) in written.iter().enumerate() {
                        match read.get(index) {
                            None => say(format!("{name}.{member}"), "is not known to the reader".into()),
                            Some(read) if read != member => {
                                say(format!("{name}.{member}"), format!("is read as {read}"));
                            }
                            Some(_) => {}
                        }
                    }
                }
                (Some(_), _) => say(name.clone(), "was another kind of declaration".into()),
            }
        }
        found
    }
}

/// Fields are identified by their slot: a slot must keep its type, and a required field must always have been
/// written.
fn tables(name: &str, written: &[Field], read: &[Field], say: &mut impl FnMut(String, String)) {
    for field in read {
        let path = format!("{name}.{}", field.name);
        match written.iter().find(|writer| writer.id == field.id) {
            None if field.required => say(path, "is required, and was not written".into()),
            None => {}
            Some(writer) if (&writer.of, writer.vector) != (&field.of, field.vector) => {
                let shown = |field: &Field| if field.vector { format!("[{}]", field.of) } else { field.of.clone() };
                let why = format!("was written as {} {}, is read as {}", writer.name, shown(writer), shown(field));
                say(path, why);
            }
            Some(writer) if writer.name != field.name && !field.deprecated && !writer.deprecated => {
                say(path, format!("has the place of {}: new fields come last", writer.name));
            }
            Some(writer) if field.required && !writer.required => {
                say(path, "is required, and was not always written".into());
            }
            Some(writer) if writer.default != field.default => {
                say(path, "has another default, so that what was left out is read as another value".into());
            }
            Some(_) => {}
        }
    }
}

/// A built-in type as JSON.
fn scalar(name: &str) -> Option<Value> {
    let whole = |min: i128, max: i128| json!({ "type": "integer", "minimum": min as f64, "maximum": max as f64 });
    Some(match name {
        "bool" => json!({ "type": "boolean" }),
        "byte" | "int8" => whole(i8::MIN.into(), i8::MAX.into()),
        "ubyte" | "uint8" => whole(0, u8::MAX.into()),
        "short" | "int16" => whole(i16::MIN.into(), i16::MAX.into()),
        "ushort" | "uint16" => whole(0, u16::MAX.into()),
        "int" | "int32" => json!({ "type": "integer", "format": "int32" }),
        "uint" | "uint32" => whole(0, u32::MAX.into()),
        "long" | "int64" => json!({ "type": "integer", "format": "int64" }),
        "ulong" | "uint64" => json!({ "type": "integer", "minimum": 0 }),
        "float" | "float32" | "double" | "float64" => json!({ "type": "number" }),
        "string" => json!({ "type": "string" }),
        _ => return None,
    })
}
