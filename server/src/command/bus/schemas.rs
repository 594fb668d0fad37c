//! `fakemon schemas`: whether two versions of a schema are compatible, and types for a schema; from files, from our
//! own schemas, from a closed data directory or beside a running server.

use crate::command::DataArg;
use crate::command::output::{is_standard, read_text};
use crate::printed::stdout;
use anyhow::{Context, bail, ensure};
use fakemon_delivery::schema::{Binding, DISCOVERED_REGISTRY, Kind, Language, Mode, Schema, our_schemas};
use fakemon_history::archive::Archive;
use fakemon_journal::files::{self, SHARED_FILE, SHARED_FOLDER};
use fakemon_model::names::{RegistryName, SchemaName};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `fakemon schemas`.
#[derive(Debug, clap::Args)]
pub struct SchemasArgs {
    #[command(subcommand)]
    command: SchemasCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SchemasCommand {
    /// Check whether a new version of a schema is compatible with an old one; fails if it is not.
    Check(CheckArgs),
    /// Print the types of a schema for a programming language.
    Bindings(BindingsArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// A file with the old version: OpenAPI 3.0, JSON Schema or FlatBuffers; `-` is stdin.
    #[arg(value_name = "OLD_FILE")]
    old: PathBuf,
    /// A file with the new version.
    #[arg(value_name = "NEW_FILE")]
    new: PathBuf,
    /// backward: the new version reads what the old one wrote; forward: the other way round; full: both.
    #[arg(long, value_name = "MODE", default_value = "backward", value_parser = parse_mode)]
    mode: Mode,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BindingsArgs {
    #[command(flatten)]
    data: DataArg,
    /// A schema: a file, one of our own, or one of a registry.
    name: String,
    /// The language: rust, typescript, python or go.
    #[arg(long, value_name = "LANGUAGE", value_parser = parse_language)]
    language: Language,
    /// The registry of the schema [default: discovered-schemas]; with it, NAME is neither a file nor one of our own.
    #[arg(long, value_name = "REGISTRY")]
    registry: Option<String>,
    /// Its version in the registry; without it the newest.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Write all files of the package below this directory, instead of printing the types.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    Mode::named(text).ok_or_else(|| "give backward, forward, full or none".into())
}

fn parse_language(text: &str) -> Result<Language, String> {
    Language::written(text).ok_or_else(|| "give rust, typescript, python or go".into())
}

/// Runs `fakemon schemas`.
pub fn run(args: SchemasArgs) -> anyhow::Result<()> {
    match args.command {
        SchemasCommand::Check(args) => check(&args),
        SchemasCommand::Bindings(args) => bindings(&args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    ensure!(!is_standard(&args.old) || !is_standard(&args.new), "OLD_FILE and NEW_FILE are both stdin: name one");
    let found = read("NEW_FILE", &args.new)?.incompatibilities(&read("OLD_FILE", &args.old)?, args.mode);
    let mut out = stdout();
    if args.json {
        let told: Vec<Value> = found.iter().map(|one| json!({ "path": one.path, "why": one.why })).collect();
        writeln!(out, "{}", json!({ "compatible": found.is_empty(), "mode": args.mode.name(), "found": told }))?;
    } else {
        found.iter().try_for_each(|one| writeln!(out, "{one}"))?;
    }
    match found.len() {
        0 if args.json => Ok(()),
        0 => Ok(writeln!(out, "{} compatible", args.mode.name())?),
        count => bail!("not {} compatible ({count} found)", args.mode.name()),
    }
}

/// The schema in a file. The name of one in a registry is none: there, a server keeps it.
fn read(argument: &str, path: &Path) -> anyhow::Result<Schema> {
    let remedy = || {
        let name = path.display();
        format!(
            "give a file; of a schema in a registry, `aws schemas describe-schema --schema-name {name}` has the text"
        )
    };
    let content = match path.exists() || is_standard(path) {
        true => read_text(argument, path)?,
        false => bail!("{argument} {}: there is no such file: {}", path.display(), remedy()),
    };
    Schema::read(Kind::guess(&content), &content).with_context(|| format!("{argument} {}", path.display()))
}

fn bindings(args: &BindingsArgs) -> anyhow::Result<()> {
    let (name, schema) = find(args)?;
    let binding = Binding::of(&schema, &name, args.language);
    let Some(out) = &args.out else {
        return Ok(stdout().write_all(binding.files[0].text.as_bytes())?);
    };
    for file in &binding.files {
        let path = out.join(&file.path);
        let folder = path.parent().unwrap_or(out);
        let written = files::make_folder(folder, SHARED_FOLDER)
            .and_then(|()| files::replace(&path, file.text.as_bytes(), SHARED_FILE));
        written.with_context(|| format!("{} cannot be written", path.display()))?;
        writeln!(stdout(), "{}", path.display())?;
    }
    Ok(())
}

/// Finds the schema; returns its name too.
fn find(args: &BindingsArgs) -> anyhow::Result<(String, Schema)> {
    let path = Path::new(&args.name);
    let in_registry = args.registry.is_some() || args.version.is_some();
    if !in_registry && path.is_file() {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("schema");
        return Ok((name.to_owned(), read("NAME", path)?));
    }
    if !in_registry && let Some(ours) = our_schemas().iter().find(|ours| ours.name == args.name) {
        return Ok((ours.name.clone(), Schema::read(ours.kind, &ours.content)?));
    }
    let dir = &args.data.data;
    let opened = Archive::open(dir).with_context(|| format!("{} is no file and none of our own schemas", args.name));
    let resources = opened?.resources().with_context(|| format!("data directory {}", dir.display()))?;
    let registry = args.registry.as_deref().unwrap_or(DISCOVERED_REGISTRY);
    let latest = resources.schemas.get(&(registry.to_owned(), args.name.clone())).map(|schema| schema.latest);
    let Some(latest) = latest else {
        bail!(
            "{}: no file, none of our own schemas, and none of the registry {registry} of {}: see --registry and --data",
            args.name,
            dir.display()
        );
    };
    let version = args.version.unwrap_or(latest);
    let Some(held) = resources.schema_version(RegistryName(registry), SchemaName(&args.name), version) else {
        bail!("--version {version}: the newest version of {} in the registry {registry} is {latest}", args.name);
    };
    let kind =
        Kind::named(&held.kind).with_context(|| format!("type {} is not known: use a newer fakemon", held.kind))?;
    Ok((args.name.clone(), Schema::read(kind, &held.content)?))
}
