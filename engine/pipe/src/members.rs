//! Parameters of a pipe as in the API; `plan` interprets them.

use super::plan::InvalidPipe;
use fakemon_pattern::typed;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct SourceMembers {
    pub(super) filter_criteria: Option<FilterCriteria>,
    pub(super) sqs_queue_parameters: Option<ReadMembers>,
    pub(super) kinesis_stream_parameters: Option<ReadMembers>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct FilterCriteria {
    pub(super) filters: Vec<Filter>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Filter {
    pub(super) pattern: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ReadMembers {
    pub(super) batch_size: Option<i64>,
    pub(super) maximum_batching_window_in_seconds: Option<i64>,
    pub(super) starting_position: Option<String>,
    pub(super) starting_position_timestamp: Option<f64>,
    pub(super) maximum_retry_attempts: Option<i64>,
    pub(super) maximum_record_age_in_seconds: Option<i64>,
    pub(super) on_partial_batch_item_failure: Option<String>,
    pub(super) dead_letter_config: Option<DeadLetterConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct DeadLetterConfig {
    pub(super) arn: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct GoMembers {
    pub(super) input_template: Option<String>,
    pub(super) http_parameters: Option<HttpMembers>,
    pub(super) sqs_queue_parameters: Option<QueueMembers>,
    pub(super) event_bridge_event_bus_parameters: Option<BusMembers>,
    pub(super) cloud_watch_logs_parameters: Option<LogMembers>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HttpMembers {
    pub(super) path_parameter_values: Vec<String>,
    pub(super) header_parameters: BTreeMap<String, String>,
    pub(super) query_string_parameters: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct QueueMembers {
    pub(super) message_group_id: Option<String>,
    pub(super) message_deduplication_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct BusMembers {
    pub(super) detail_type: Option<String>,
    pub(super) source: Option<String>,
    pub(super) resources: Vec<String>,
    pub(super) time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct LogMembers {
    pub(super) log_stream_name: Option<String>,
    pub(super) timestamp: Option<String>,
}

/// Members that are supported, by the member that contains them.
const UNDERSTOOD: [(&str, &[&str]); 3] = [
    ("SourceParameters", &["FilterCriteria", "SqsQueueParameters", "KinesisStreamParameters"]),
    ("EnrichmentParameters", &["InputTemplate", "HttpParameters"]),
    (
        "TargetParameters",
        &[
            "InputTemplate",
            "HttpParameters",
            "SqsQueueParameters",
            "EventBridgeEventBusParameters",
            "CloudWatchLogsParameters",
            "LambdaFunctionParameters",
        ],
    ),
];

/// A value, or what is wrong with it.
pub(super) type Invalid<T> = Result<T, InvalidPipe>;

pub(super) fn invalid<T>(what: impl Into<String>) -> Invalid<T> {
    Err(InvalidPipe(what.into()))
}

/// Parses the members of one parameter; an unsupported member is reported by name.
pub(super) fn members<T: DeserializeOwned + Default>(name: &str, given: &Value) -> Invalid<T> {
    if given.is_null() {
        return Ok(T::default());
    }
    let understood = UNDERSTOOD.iter().find(|(held, _)| *held == name).map_or(&[][..], |(_, members)| *members);
    if let Some(unknown) = given
        .as_object()
        .into_iter()
        .flat_map(|given| given.keys())
        .find(|member| !understood.contains(&member.as_str()))
    {
        return invalid(format!("{name}.{unknown} is not for what there is here: use {}.", understood.join(", ")));
    }
    typed::from_value(given.clone()).map_err(|error| InvalidPipe(format!("{name}: {error}.")))
}
