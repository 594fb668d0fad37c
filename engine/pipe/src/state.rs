//! The state of a pipe: its last change, and the result of that.

use fakemon_resource::resource::{DesiredState, Pipe, PipeChange};

/// The result of a revision of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeStatus {
    /// Its thread runs; perhaps with problems.
    Running {
        /// The last problem, until something succeeds.
        trouble: Option<String>,
    },
    /// It is stopped.
    Stopped,
    /// It cannot run.
    Failed(String),
}

/// The state as the service names it, and its reason. Without a status the last change is not completed yet.
pub fn state_name(pipe: &Pipe, status: Option<&PipeStatus>) -> (&'static str, Option<String>) {
    let stops = pipe.desired_state == DesiredState::Stopped;
    match (status, pipe.change) {
        (Some(PipeStatus::Running { trouble }), _) => {
            // The service's limit for the length of reasons.
            ("RUNNING", trouble.as_ref().map(|trouble| trouble.chars().take(512).collect()))
        }
        (Some(PipeStatus::Stopped), _) => ("STOPPED", None),
        (Some(PipeStatus::Failed(why)), PipeChange::Created) => ("CREATE_FAILED", Some(why.clone())),
        (Some(PipeStatus::Failed(why)), PipeChange::Updated) => ("UPDATE_FAILED", Some(why.clone())),
        (Some(PipeStatus::Failed(why)), PipeChange::Started) => ("START_FAILED", Some(why.clone())),
        (Some(PipeStatus::Failed(why)), PipeChange::Stopped) => ("STOP_FAILED", Some(why.clone())),
        (None, PipeChange::Created) => ("CREATING", None),
        (None, PipeChange::Updated) => ("UPDATING", None),
        (None, PipeChange::Started | PipeChange::Stopped) => (if stops { "STOPPING" } else { "STARTING" }, None),
    }
}
