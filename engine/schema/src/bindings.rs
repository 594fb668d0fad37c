//! Types of programming languages for a schema: for each language one template, which gets the same model with names
//! and types spelled for that language.

mod model;
mod words;
mod languages;

use super::Schema;
use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use model::Model;

/// A language that types are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Structs with serde.
    Rust,
    /// Interfaces.
    TypeScript,
    /// Dataclasses, for Python 3.7 and later.
    Python,
    /// Structs with tags.
    Go,
}

impl Language {
    /// All of them: name in the API, name on the command line.
    pub const ALL: [(Language, &str, &str); 4] = [
        (Language::Rust, "Rust", "rust"),
        (Language::TypeScript, "TypeScript3", "typescript"),
        (Language::Python, "Python36", "python"),
        (Language::Go, "Go1", "go"),
    ];

    /// The language with this name in the API.
    pub fn named(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|(_, known, _)| *known == name).map(|(language, _, _)| language)
    }

    /// The language with this name on the command line.
    pub fn written(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|(_, _, known)| *known == name).map(|(language, _, _)| language)
    }

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        Language::ALL.into_iter().find(|(language, _, _)| *language == self).map_or("", |(_, name, _)| name)
    }

    fn template(self) -> &'static str {
        match self {
            Language::Rust => include_str!("bindings/rust.jinja"),
            Language::TypeScript => include_str!("bindings/typescript.jinja"),
            Language::Python => include_str!("bindings/python.jinja"),
            Language::Go => include_str!("bindings/go.jinja"),
        }
    }
}

/// A file of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path below the folder of the binding.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Types for a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its files; the types are in the first.
    pub files: Vec<SourceFile>,
}

impl Binding {
    /// Makes the types for a schema; `name` is the schema's name.
    pub fn of(schema: &Schema, name: &str, language: Language) -> Binding {
        let model = Model::of(schema, name);
        let package = words::snake(name);
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters are valid"));
        let context = minijinja::value::Serde(languages::context(&model, language, name, &package));
        let text =
            environment.render_str(language.template(), context).expect("templates are tested with every shape");
        let file = |path: &str, text: String| SourceFile { path: path.into(), text };
        let files = match language {
            Language::Rust => vec![file("src/lib.rs", text), file("Cargo.toml", cargo_toml(&package))],
            Language::TypeScript => vec![file("index.ts", text), file("package.json", package_json(&package))],
            Language::Python => vec![file(&format!("{package}/__init__.py"), text)],
            Language::Go => vec![file("events.go", text), file("go.mod", format!("module {package}\n\ngo 1.18\n"))],
        };
        Binding { files }
    }
}

fn cargo_toml(package: &str) -> String {
    format!(
        "[package]\nname = \"{package}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[dependencies]\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n"
    )
}

fn package_json(package: &str) -> String {
    format!("{{\n  \"name\": \"{package}\",\n  \"version\": \"1.0.0\",\n  \"types\": \"index.ts\"\n}}\n")
}
