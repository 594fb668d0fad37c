//! Settings of a partner webhook: how its partner signs, and what an event takes from a request.

use super::layout::{Generic, Layout, Scheme};
use axum::http::HeaderMap;
use fakemon_http::refusal::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far a partner's clock may be off, in seconds, by default.
const TOLERANCE_S: u64 = 300;
/// How long a request is remembered if its signature has no timestamp, in seconds.
const UNTIMED_S: u64 = 3_600;
/// The longest detail-type, as with EventBridge, in characters.
const DETAIL_TYPE_MAX: usize = 128;

/// Settings of a webhook, without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) layout: Layout,
    /// Only for the generic layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<Generic>,
    /// Where the detail-type is found; none: where the layout has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detail_type: Option<Place>,
    /// Where the event's id is found; none: where the layout has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Place>,
    /// How far the time of a signature may be off, in seconds.
    #[serde(default = "tolerance_s")]
    pub(super) tolerance_s: u64,
    /// Whether an API key is required too.
    #[serde(default)]
    pub(super) api_key_required: bool,
}

fn tolerance_s() -> u64 {
    TOLERANCE_S
}

/// Source of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// A header of the request.
    Header(String),
    /// A path in the JSON of the body: members separated by dots.
    Body(String),
    /// A constant.
    Text(String),
}

impl Place {
    fn find(&self, headers: &HeaderMap, body: &Value) -> Option<String> {
        match self {
            Place::Header(name) => headers.get(name.as_str())?.to_str().ok().map(str::to_owned),
            Place::Body(path) => match path.split('.').try_fold(body, |value, member| value.get(member))? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            },
            Place::Text(text) => Some(text.clone()),
        }
        .filter(|found| !found.is_empty())
    }
}

impl Settings {
    /// The scheme of signatures; or which setting is invalid.
    pub(super) fn scheme(&self) -> Result<Scheme, Refusal> {
        if self.layout != Layout::Generic && self.signature.is_some() {
            let message = "signature is for the layout generic: the others know how their partner signs";
            return Err(Refusal::field("bad_request", "signature", message));
        }
        if !(1..=86_400).contains(&self.tolerance_s) {
            let message = "tolerance_s must be from 1 to 86400 seconds";
            return Err(Refusal::field("out_of_range", "tolerance_s", message));
        }
        for (place, field) in [(&self.detail_type, "detail_type"), (&self.id, "id")] {
            if let Some(Place::Header(name)) = place
                && name.parse::<axum::http::HeaderName>().is_err()
            {
                return Err(Refusal::field("bad_request", field, format!("`{name}` is no name of a header")));
            }
        }
        Scheme::of(self.layout, self.signature.as_ref())
            .map_err(|(field, message)| Refusal::field("bad_request", field, message))
    }

    /// How long duplicates of a request are detected, in seconds.
    pub(super) fn remembered_s(&self, scheme: &Scheme) -> u64 {
        if scheme.is_timed() { 2 * self.tolerance_s } else { UNTIMED_S.max(self.tolerance_s) }
    }

    pub(super) fn detail_type(&self, headers: &HeaderMap, body: &Value) -> String {
        let usual = match self.layout {
            Layout::Github => vec![Place::Header("x-github-event".into())],
            Layout::Shopify => vec![Place::Header("x-shopify-topic".into())],
            Layout::Slack => ["event.type", "type", "command"].map(|path| Place::Body(path.into())).into(),
            Layout::Stripe | Layout::Standard => vec![Place::Body("type".into())],
            Layout::Generic => Vec::new(),
        };
        let found = self.detail_type.iter().chain(&usual).find_map(|place| place.find(headers, body));
        found.map_or_else(|| "webhook".into(), |found| found.chars().take(DETAIL_TYPE_MAX).collect())
    }

    /// The id of the event, which the partner keeps in retries.
    pub(super) fn id(&self, headers: &HeaderMap, body: &Value) -> Option<String> {
        let usual = match self.layout {
            Layout::Github => Some(Place::Header("x-github-delivery".into())),
            Layout::Shopify => Some(Place::Header("x-shopify-webhook-id".into())),
            Layout::Slack => Some(Place::Body("event_id".into())),
            Layout::Stripe => Some(Place::Body("id".into())),
            Layout::Standard | Layout::Generic => None,
        };
        self.id.iter().chain(&usual).find_map(|place| place.find(headers, body))
    }
}
