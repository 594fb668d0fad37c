//! `fakemon schemas`: whether two versions of a schema go together, and types for a schema; from files, from our own
//! schemas, or from a dead data directory or beside a running server.

use super::DataArg;
use crate::printed::stdout;
use anyhow::{Context, bail};
use fakemon_engine::archive::Archive;
use fakemon_engine::files::{self, SHARED_FILE, SHARED_FOLDER};
use fakemon_engine::schema::{Binding, DISCOVERED_REGISTRY, Kind, Language, Mode, Schema, our_schemas};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to do with schemas.
#[derive(Debug, clap::Args)]
pub struct SchemasArgs {
    #[command(subcommand)]
    command: SchemasCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SchemasCommand {
    /// Say whether a new version of a schema goes with an old one; fails if it does not.
    Check(CheckArgs),
    /// Print the types of a schema for a programming language.
    Bindings(BindingsArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// A file with the old version: OpenAPI 3.0, JSON Schema or FlatBuffers.
    old: PathBuf,
    /// A file with the new version.
    new: PathBuf,
    /// backward: the new version reads what the old one wrote; forward: the other way round; full: both.
    #[arg(long, value_name = "MODE", default_value = "backward", value_parser = parse_mode)]
    mode: Mode,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BindingsArgs {
    #[command(flatten)]
    data: DataArg,
    /// A schema: a file, one of our own, or one of a registry.
    name: String,
    /// rust, typescript, python or go.
    #[arg(long, value_name = "LANGUAGE", value_parser = parse_language)]
    language: Language,
    /// The registry of the schema.
    #[arg(long, value_name = "NAME", default_value = DISCOVERED_REGISTRY)]
    registry: String,
    /// Its version; without it the newest.
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

/// Does it.
pub fn run(args: SchemasArgs) -> anyhow::Result<()> {
    match args.command {
        SchemasCommand::Check(args) => check(&args),
        SchemasCommand::Bindings(args) => bindings(&args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let found = read(&args.new)?.incompatibilities(&read(&args.old)?, args.mode);
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

fn read(path: &Path) -> anyhow::Result<Schema> {
    let content = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Schema::read(Kind::guess(&content), &content).with_context(|| path.display().to_string())
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

/// The schema that is meant, and its name.
fn find(args: &BindingsArgs) -> anyhow::Result<(String, Schema)> {
    let path = Path::new(&args.name);
    if path.is_file() {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("schema");
        return Ok((name.to_owned(), read(path)?));
    }
    if let Some(ours) = our_schemas().iter().find(|ours| ours.name == args.name) {
        return Ok((ours.name.clone(), Schema::read(ours.kind, &ours.content)?));
    }
    let registry = Archive::open(&args.data.data)?.resources()?;
    let latest = registry.schemas.get(&(args.registry.clone(), args.name.clone())).map(|schema| schema.latest);
    let version = args.version.or(latest);
    let held = version.and_then(|version| registry.schema_version(&args.registry, &args.name, version));
    let Some(held) = held else {
        bail!("registry {} has no schema {} of that version: see --registry and --version", args.registry, args.name);
    };
    let kind =
        Kind::named(&held.kind).with_context(|| format!("type {} is not known: use a newer fakemon", held.kind))?;
    Ok((args.name.clone(), Schema::read(kind, &held.content)?))
}
