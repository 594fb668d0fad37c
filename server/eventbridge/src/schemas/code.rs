//! Code bindings for programming languages. Generating them is fast, so a requested binding is ready at once; of our
//! own schemas all bindings always are.

use super::documents::is_ours;
use super::lookup::{kind_of, requested};
use super::{bad, check, missing, moment};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fakemon_aws::Api;
use fakemon_aws::request::Request;
use fakemon_aws::rest;
use fakemon_aws::{ApiError, Call, Reply};
use fakemon_delivery::schema::{Binding, Language, Schema};
use fakemon_model::ids::Timestamp;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource, SchemaVersion};
use serde_json::{Map, Value, json};
use std::io::{Cursor, Write};
use std::sync::Arc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn language(request: &Request<'_>) -> Result<Language, ApiError> {
    let name = request.required("Language");
    check(request)?;
    let known = Language::ALL.map(|(_, name, _)| name).join(", ");
    Language::named(name)
        .ok_or_else(|| bad(format!("Language {name} is not one of those that code is made for: {known}.")))
}

fn shown(version: &SchemaVersion, at: Timestamp) -> Value {
    json!({
        "CreationDate": moment(at),
        "LastModified": moment(at),
        "SchemaVersion": version.version.to_string(),
        "Status": "CREATE_COMPLETE",
    })
}

/// When the binding was requested.
fn asked_for(version: &SchemaVersion, language: Language) -> Result<Timestamp, ApiError> {
    let asked = version.bindings.get(language.name()).copied();
    let asked = asked.or_else(|| is_ours(&version.registry).then_some(version.created_at));
    let unasked = || {
        let (schema, number, language) = (&version.schema, version.version, language.name());
        missing(format!("There is no {language} code of {schema}, version {number}: ask for it with PutCodeBinding."))
    };
    asked.ok_or_else(unasked)
}

pub(crate) fn put(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let language = language(request)?;
    let (_, mut version) = requested(registry, request)?;
    if is_ours(&version.registry) {
        return Ok(Reply::of(shown(&version, version.created_at)));
    }
    version.bindings.insert(language.name().into(), call.now);
    Ok(Reply::with(shown(&version, call.now), vec![Change::Put(Resource::SchemaVersion(version))]))
}

pub(crate) fn describe(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let language = language(request)?;
    let (_, version) = requested(registry, request)?;
    let at = asked_for(&version, language)?;
    Ok(Reply::of(shown(&version, at)))
}

/// The files of a binding as one ZIP archive.
pub(crate) async fn source(
    State(api): State<Arc<Api>>,
    Path(path): Path<Vec<(String, String)>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let mut members: Map<String, Value> = path.into_iter().map(|(name, value)| (name, value.into())).collect();
    let version = query.into_iter().find(|(name, _)| name == "schemaVersion");
    members.extend(version.map(|(_, version)| ("SchemaVersion".to_owned(), version.into())));
    match packed(&api.engine.registry(), &Request::new(&members)) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/zip")], bytes).into_response(),
        Err(error) => rest::answer(Err(error)),
    }
}

fn packed(registry: &Registry, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
    let language = language(request)?;
    let (_, version) = requested(registry, request)?;
    asked_for(&version, language)?;
    let schema = Schema::read(kind_of(&version)?, &version.content).map_err(|error| bad(error.to_string()))?;
    zipped(&Binding::of(&schema, &version.schema, language)).map_err(|error| ApiError::internal(error.to_string()))
}

fn zipped(binding: &Binding) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for file in &binding.files {
        writer.start_file(&file.path, options)?;
        writer.write_all(file.text.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}
