//! `@connections`, as API Gateway's management API has it (boto3 `apigatewaymanagementapi`): send a message to a
//! connection, describe it, close it. Beyond it, one call for many: all connections of a player, of a group, of the
//! watchers of an area.
//!
//! ```text
//! POST   /@connections/ID                            the body, as one message
//! GET    /@connections/ID                            {"connectedAt", "lastActiveAt", "identity", "player", "groups", …}
//! DELETE /@connections/ID
//! PUT    /@connections/ID/groups/NAME                joins; DELETE leaves
//! POST   /@connections?player=NAME                   {"reached": 2, "refused": 0}
//! POST   /@connections?group=NAME
//! POST   /@connections?lat=40.4&lon=-3.7&radius_m=500
//! POST   /@connections?batch                         a message a line, see `batch`
//! ```
//!
//! A prefix (a stage, as in `/prod/@connections/…`) is ignored.

mod batch;

use super::Shared;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use batch::Batch;
use fakemon_edge::{ConnectionCommand, ConnectionId, Said, To};
use fakemon_http::refusal::{check_encoding, unread_query};
use fakemon_model::event::PlayerName;
use fakemon_model::limits::LOOK_RADIUS_M_MAX;
use fakemon_model::place::Place;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The longest message, in bytes, as with AWS.
pub(super) const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// The longest batch, in bytes.
pub(super) const BATCH_BYTES_MAX: usize = 2 << 20;
/// The longest name of a group, in bytes.
const GROUP_BYTES_MAX: usize = 128;

/// Its routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let one = || post(say).get(describe).delete(close).layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX));
    let many = || post(say_to_many).layer(DefaultBodyLimit::max(BATCH_BYTES_MAX));
    Router::new()
        .route("/@connections", many())
        .route("/@connections/{id}", one())
        .route("/@connections/{id}/groups/{group}", put(join).delete(leave))
        .route("/{stage}/@connections/{id}", one())
}

/// An error in the shape and with the words of the management API.
#[derive(Debug)]
struct Refused(StatusCode, &'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(status, code, message) = self;
        let mut response = (status, Json(json!({ "message": message }))).into_response();
        let name = HeaderName::from_static("x-amzn-errortype");
        response.headers_mut().insert(name, HeaderValue::from_static(code));
        response
    }
}

fn stopping() -> Refused {
    Refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "the server stops".into())
}

fn gone() -> Refused {
    Refused(StatusCode::GONE, "GoneException", "the connection is not there any more".into())
}

fn too_large() -> Refused {
    let message = format!("a message has at most {MESSAGE_BYTES_MAX} bytes");
    Refused(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", message)
}

fn bad(message: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, "BadRequestException", message.into())
}

/// The connection that a path names, with a stage or without.
#[derive(Deserialize)]
struct One {
    id: String,
}

#[derive(Deserialize)]
struct OneInGroup {
    id: String,
    group: String,
}

impl One {
    fn connection(&self) -> Result<To, Refused> {
        self.id.parse::<ConnectionId>().map(To::Connection).map_err(|()| gone())
    }
}

async fn send(shared: &Shared, to: To, errand: ConnectionCommand) -> Result<Said, Refused> {
    let (tell, told) = oneshot::channel();
    shared.options.switchboard.send(to, errand, move |said| {
        let _ = tell.send(said); // the client has disconnected
    });
    told.await.map_err(|_| stopping())
}

/// The result of an errand for one connection.
fn done(said: &Said) -> Result<(), Refused> {
    match said {
        Said { reached: 1.., .. } => Ok(()),
        Said { refused: 1.., .. } => Err(Refused(
            StatusCode::TOO_MANY_REQUESTS,
            "LimitExceededException",
            "the connection does not read what it gets, or is in too many groups: try again later".into(),
        )),
        Said { .. } => Err(gone()),
    }
}

/// A text message if the body is UTF-8, else a binary one.
fn message(body: Result<Bytes, BytesRejection>) -> Result<ConnectionCommand, Refused> {
    let body = body.ok().filter(|body| body.len() <= MESSAGE_BYTES_MAX).ok_or_else(too_large)?;
    Ok(match std::str::from_utf8(&body) {
        Ok(text) => ConnectionCommand::Text(text.into()),
        Err(_) => ConnectionCommand::Binary(body[..].into()),
    })
}

async fn say(
    State(shared): State<Arc<Shared>>,
    Path(one): Path<One>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(), Refused> {
    done(&send(&shared, one.connection()?, message(body)?).await?)
}

async fn describe(State(shared): State<Arc<Shared>>, Path(one): Path<One>) -> Result<Json<Value>, Refused> {
    let said = send(&shared, one.connection()?, ConnectionCommand::Describe).await?;
    let found = said.description.ok_or_else(gone)?;
    let source_ip = found.source.map_or(String::new(), |source| source.ip().to_string());
    let context = found.context.and_then(|context| serde_json::from_str::<Value>(&context).ok());
    Ok(Json(json!({
        "connectedAt": found.connected_at.to_string(),
        "lastActiveAt": found.active_at.to_string(),
        "identity": { "sourceIp": source_ip, "userAgent": found.user_agent },
        "endpoint": found.endpoint.name(),
        "player": found.player.as_ref().map(|player| player.as_str()),
        "context": context,
        "groups": found.groups.iter().map(|group| &**group).collect::<Vec<_>>(),
    })))
}

async fn close(State(shared): State<Arc<Shared>>, Path(one): Path<One>) -> Result<StatusCode, Refused> {
    done(&send(&shared, one.connection()?, ConnectionCommand::Close).await?).map(|()| StatusCode::NO_CONTENT)
}

fn group_name(name: &str) -> Result<Arc<str>, Refused> {
    match (1..=GROUP_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control) {
        true => Ok(name.into()),
        false => Err(bad(format!("group has 1 to {GROUP_BYTES_MAX} bytes without control characters"))),
    }
}

async fn join(
    State(shared): State<Arc<Shared>>,
    Path(OneInGroup { id, group }): Path<OneInGroup>,
) -> Result<StatusCode, Refused> {
    let errand = ConnectionCommand::Join(group_name(&group)?);
    done(&send(&shared, One { id }.connection()?, errand).await?).map(|()| StatusCode::NO_CONTENT)
}

async fn leave(
    State(shared): State<Arc<Shared>>,
    Path(OneInGroup { id, group }): Path<OneInGroup>,
) -> Result<StatusCode, Refused> {
    let errand = ConnectionCommand::Leave(group_name(&group)?);
    done(&send(&shared, One { id }.connection()?, errand).await?).map(|()| StatusCode::NO_CONTENT)
}

/// The connections that a message to many is for.
#[derive(Deserialize)]
struct Many {
    batch: Option<String>,
    player: Option<String>,
    group: Option<String>,
    lat: Option<f64>,
    lon: Option<f64>,
    radius_m: Option<f64>,
}

impl Many {
    fn to(self) -> Result<To, Refused> {
        match self {
            Many { batch: None, player: Some(player), group: None, lat: None, lon: None, radius_m: None } => {
                PlayerName::new(&player).map(To::Player).map_err(|error| bad(error.to_string()))
            }
            Many { batch: None, player: None, group: Some(group), lat: None, lon: None, radius_m: None } => {
                group_name(&group).map(To::Group)
            }
            Many {
                batch: None,
                player: None,
                group: None,
                lat: Some(lat),
                lon: Some(lon),
                radius_m: Some(radius_m),
            } => {
                let place = Place::from_degrees(lat, lon).map_err(|error| bad(error.to_string()))?;
                match (0.0..=LOOK_RADIUS_M_MAX).contains(&radius_m) {
                    true => Ok(To::Around(place, radius_m)),
                    false => Err(bad(format!("radius_m is a number of metres from 0 to {LOOK_RADIUS_M_MAX}"))),
                }
            }
            Many { .. } => Err(bad("give batch, or player, or group, or lat with lon and radius_m")),
        }
    }
}

async fn say_to_many(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    many: Result<Query<Many>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refused> {
    check_encoding(query.as_deref()).map_err(|refusal| bad(refusal.message()))?;
    let Query(many) = many.map_err(|rejection| bad(unread_query(&rejection).message()))?;
    if let Many { batch: Some(_), player: None, group: None, lat: None, lon: None, radius_m: None } = many {
        return say_each(&shared, body).await;
    }
    let said = send(&shared, many.to()?, message(body)?).await?;
    Ok(Json(json!({ "reached": said.reached, "refused": said.refused })))
}

/// Sends a batch: one message per line.
async fn say_each(shared: &Shared, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Refused> {
    let body = body.map_err(|_| {
        let message = format!("a batch has at most {} bytes: make another call", BATCH_BYTES_MAX);
        Refused(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", message)
    })?;
    let batch = Batch::read(&body)?;
    let (text, letters) = batch.letters();
    let (tell, told) = oneshot::channel();
    shared.options.switchboard.send_letters(text, letters, move |said| {
        let _ = tell.send(said); // the client has disconnected
    });
    Ok(Json(batch.answer(&told.await.map_err(|_| stopping())?)))
}
