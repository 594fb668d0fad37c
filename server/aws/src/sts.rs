//! AWS STS: `GetCallerIdentity`, which tools call before anything else. There is one account here, with only its root
//! user.

use crate::query::{Dialect, Form, answered, refused};
use crate::{ApiError, services};
use axum::http::HeaderMap;
use axum::response::Response;
use fakemon_model::envelope::ACCOUNT;
use serde_json::json;

const DIALECT: Dialect = Dialect { namespace: "https://sts.amazonaws.com/doc/2011-06-15/" };

/// The version of the protocol; it identifies forms for STS.
pub const VERSION: &str = "2011-06-15";

/// Answers a request.
pub fn answer(form: &Form, headers: &HeaderMap) -> Response {
    let action = form.get("Action").unwrap_or_default();
    let error = match action {
        "GetCallerIdentity" => {
            let arn = format!("arn:aws:iam::{ACCOUNT}:root");
            let identity = json!({ "Arn": arn, "UserId": ACCOUNT, "Account": ACCOUNT });
            return answered(DIALECT, headers, action, &identity);
        }
        action => services::not_here("sts", action),
    };
    let code = if error.code == "UnknownOperationException" { "InvalidAction" } else { error.code };
    refused(DIALECT, headers, &ApiError { code, ..error }, code)
}
