//! Why a delivery attempt failed, by the codes in the service's dead letters (`ERROR_CODE`). The message beside the
//! code (`ERROR_MESSAGE`) says what happened exactly.
//!
//! | code | what happened |
//! |---|---|
//! | `CONNECTION_FAILURE` | no connection, or it broke |
//! | `ERROR_FROM_TARGET` | the target answered that it does not want the event, or something that makes no sense |
//! | `EVENTS_IN_BATCH_REQUEST_REJECTED` | the bus refused the event: it is not what its schema says |
//! | `INTERNAL_ERROR` | the depot of queues and log lines could not be written |
//! | `INVALID_JSON` | the target's input settings make no JSON of this event, or no event |
//! | `INVALID_PARAMETER` | what the target needs is missing in this event, or wrong |
//! | `NO_PERMISSIONS` | not let in: by the target, by the guard of private addresses, or for want of a token |
//! | `NO_RESOURCE` | the target does not exist, or is not connected |
//! | `RESOURCE_LIMIT_EXCEEDED` | the target is full |
//! | `THIRD_ACCOUNT_HOP_DETECTED` | rules and pipes handed the event from bus to bus too often |
//! | `THROTTLING` | not now: too much at once |
//! | `TIMEOUT` | no answer in time, or the event waited too long |

use std::fmt;

/// Why an attempt to deliver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table above")]
pub enum FailureCode {
    ConnectionFailure,
    ErrorFromTarget,
    EventsInBatchRequestRejected,
    InternalError,
    InvalidJson,
    InvalidParameter,
    NoPermissions,
    NoResource,
    ResourceLimitExceeded,
    ThirdAccountHopDetected,
    Throttling,
    Timeout,
    /// The engine is stopping. This is no failed attempt, so no dead letter has this code.
    Stopped,
}

impl FailureCode {
    /// Its name in dead letters and notices.
    pub fn name(self) -> &'static str {
        match self {
            FailureCode::ConnectionFailure => "CONNECTION_FAILURE",
            FailureCode::ErrorFromTarget => "ERROR_FROM_TARGET",
            FailureCode::EventsInBatchRequestRejected => "EVENTS_IN_BATCH_REQUEST_REJECTED",
            FailureCode::InternalError => "INTERNAL_ERROR",
            FailureCode::InvalidJson => "INVALID_JSON",
            FailureCode::InvalidParameter => "INVALID_PARAMETER",
            FailureCode::NoPermissions => "NO_PERMISSIONS",
            FailureCode::NoResource => "NO_RESOURCE",
            FailureCode::ResourceLimitExceeded => "RESOURCE_LIMIT_EXCEEDED",
            FailureCode::ThirdAccountHopDetected => "THIRD_ACCOUNT_HOP_DETECTED",
            FailureCode::Throttling => "THROTTLING",
            FailureCode::Timeout => "TIMEOUT",
            FailureCode::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
