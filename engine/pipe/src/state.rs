//! Which state a pipe is in: what was asked of it last, and what became of that.

use fakemon_resource::resource::{DesiredState, Pipe, PipeChange};

/// What became of a revision of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeStatus {
    /// Its thread carries; perhaps not without trouble.
    Running {
        /// What went wrong last, until something goes well.
        trouble: Option<String>,
    },
    /// It stands still.
    Stopped,
    /// It cannot run.
    Failed(String),
}

/// The state in the service's words, and why it is so. No status means that the last change is not through yet.
pub fn state_name(pipe: &Pipe, status: Option<&PipeStatus>) -> (&'static str, Option<String>) {
    let stops = pipe.desired_state == DesiredState::Stopped;
    match (status, pipe.change) {
        (Some(PipeStatus::Running { trouble }), _) => {
            // As long as the service's reasons may be.
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
