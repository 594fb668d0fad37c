//! Errors of SQS by their names in both protocols: the type in JSON, the code in XML. Clients branch on the code in
//! either.

use axum::http::StatusCode;
use fakemon_aws::ApiError;

/// The name of an error.
pub struct ErrorName {
    /// `__type` of the JSON protocol.
    pub kind: String,
    /// `Code` of the query protocol.
    pub code: &'static str,
    pub status: StatusCode,
}

/// Errors of SQS alone: name, code in the query protocol, status.
const OWN: [(&str, &str, u16); 17] = [
    ("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400),
    ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400),
    ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400),
    ("InvalidAttributeName", "InvalidAttributeName", 400),
    ("InvalidAttributeValue", "InvalidAttributeValue", 400),
    ("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400),
    ("InvalidMessageContents", "InvalidMessageContents", 400),
    ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400),
    ("OverLimit", "OverLimit", 403),
    ("PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403),
    ("QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently", 400),
    ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400),
    ("QueueNameExists", "QueueAlreadyExists", 400),
    ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404),
    ("RequestThrottled", "RequestThrottled", 403),
    ("ResourceNotFoundException", "ResourceNotFoundException", 404),
    ("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400),
];
/// Errors that every service has: their name here, in JSON, and in the query protocol.
const COMMON: [(&str, &str, &str); 10] = [
    ("InvalidParameterValue", "InvalidParameterValueException", "InvalidParameterValue"),
    ("MissingParameter", "MissingRequiredParameterException", "MissingParameter"),
    ("MissingAuthenticationTokenException", "MissingAuthenticationTokenException", "MissingAuthenticationToken"),
    ("UnrecognizedClientException", "UnrecognizedClientException", "InvalidClientTokenId"),
    ("IncompleteSignatureException", "IncompleteSignatureException", "IncompleteSignature"),
    ("InvalidSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch"),
    ("UnknownOperationException", "UnknownOperationException", "InvalidAction"),
    ("ThrottlingException", "ThrottlingException", "Throttling"),
    ("ServiceUnavailable", "ServiceUnavailableException", "ServiceUnavailable"),
    ("InternalException", "InternalFailure", "InternalFailure"),
];

impl ErrorName {
    /// The names of an error in SQS.
    pub fn of(error: &ApiError) -> ErrorName {
        if let Some((name, code, status)) = OWN.iter().find(|(name, ..)| *name == error.code) {
            let status = StatusCode::from_u16(*status).expect("a status of HTTP");
            return ErrorName { kind: format!("com.amazonaws.sqs#{name}"), code, status };
        }
        let common = COMMON.iter().find(|(name, ..)| *name == error.code);
        let (_, name, code) = common.copied().unwrap_or((error.code, error.code, error.code));
        ErrorName { kind: format!("com.amazon.coral.service#{name}"), code, status: error.status }
    }

    /// `Sender` or `Receiver`, by the status.
    pub fn fault(&self) -> &'static str {
        if self.status.is_server_error() { "Receiver" } else { "Sender" }
    }
}
