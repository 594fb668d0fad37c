//! AWS Signature Version 4: checks that a request was signed with the secret of an access key, within the last
//! minutes, and was not changed since. The signature is computed again as AWS's SDK would, and compared.
//!
//! ```text
//! Authorization: AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=host;…, Signature=…
//! ```
//!
//! Stricter than AWS in what must be signed: every `x-amz-…` header, so that no proxy can turn a request into another
//! operation. Signatures in the query string and chunked ones are not supported and count as none.

use crate::ApiError;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use fakemon_access::access_keys::AccessKeys;
use fakemon_http::uri::AsSent;
use jiff::{Timestamp, ToSpan as _, civil, tz::TimeZone};
use std::time::SystemTime;
use subtle::ConstantTimeEq as _;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a client's clock may be off, in minutes.
const SKEW_MINUTES: i64 = 15;
/// Services that requests may be signed for.
const SERVICES: [&str; 9] =
    ["events", "sqs", "logs", "sts", "scheduler", "pipes", "schemas", "execute-api", "apigateway"];
/// Services by the prefix in `x-amz-target`; and by their paths.
const TARGETS: [(&str, &str); 3] = [("AWSEvents", "events"), ("AmazonSQS", "sqs"), ("Logs_20140328", "logs")];
const PATHS: [(&str, &str); 8] = [
    ("/apikeys", "apigateway"),
    ("/usageplans", "apigateway"),
    ("/@connections", "execute-api"),
    ("/schedules", "scheduler"),
    ("/schedule-groups", "scheduler"),
    ("/v1/pipes", "pipes"),
    ("/v1/registries", "schemas"),
    ("/v1/discoverers", "schemas"),
];
/// The longest path with its query, in bytes; its encoding, which is signed, is up to three times as long.
const URI_BYTES_MAX: usize = 8 << 10;
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// The parsed header `Authorization` of a request.
struct Given<'r> {
    id: &'r str,
    date: &'r str,
    region: &'r str,
    service: &'r str,
    headers: Vec<&'r str>,
    signature: &'r str,
}

/// A request whose head passed: the key is known and the time is right. The signature needs the body too.
pub struct Promising<'r> {
    given: Given<'r>,
    key: Credentials,
    at: Timestamp,
}

fn missing() -> ApiError {
    ApiError::new("MissingAuthenticationTokenException", "Request is missing Authentication Token")
}

fn unrecognized() -> ApiError {
    ApiError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
}

fn incomplete(message: impl Into<String>) -> ApiError {
    ApiError::new("IncompleteSignatureException", message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidSignatureException", message)
}

fn mismatch() -> ApiError {
    invalid(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method. Consult the service documentation for details.",
    )
}

/// Signs a GET of our own command line; returns the headers that it needs besides `Host`.
///
/// # Errors
/// When the key cannot sign.
pub fn sign_get(authority: &str, path: &str, id: &str, secret: &str) -> anyhow::Result<Vec<(String, String)>> {
    let identity = Credentials::new(id, secret, None, None, "environment").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("local")
        .name(SERVICES[0])
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let uri = format!("http://{authority}{path}");
    let headers = [("host", authority)].into_iter();
    let signable = SignableRequest::new("GET", &uri, headers, SignableBody::Bytes(b""))?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    let (headers, _) = instructions.into_parts();
    Ok(headers.into_iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect())
}

/// Checks everything but the signature itself, so that no body is read of a request that must fail.
pub fn look_at<'r>(parts: &'r Parts, keys: &AccessKeys, now: Timestamp) -> Result<Promising<'r>, ApiError> {
    let authorization = text(&parts.headers, header::AUTHORIZATION.as_str()).ok_or_else(missing)?;
    let given = Given::read(authorization, &parts.headers)?;
    // Keys here are long-term, so a session token belongs to another system.
    let key = keys.find(given.id).filter(|_| !parts.headers.contains_key("x-amz-security-token"));
    let key = key.ok_or_else(unrecognized)?.clone();
    given.check_headers(&parts.headers)?;
    let at = moment(text(&parts.headers, "x-amz-date").unwrap_or_default())?;
    check_time(at, now)?;
    given.check_scope(at, called(parts))?;
    if parts.uri.path_and_query().is_some_and(|uri| uri.as_str().len() > URI_BYTES_MAX) {
        return Err(invalid(format!("a signed path and query have at most {URI_BYTES_MAX} bytes")));
    }
    Ok(Promising { given, key, at })
}

impl Promising<'_> {
    /// Whether the signature is that of this request with this body.
    pub fn check(&self, parts: &Parts, body: &[u8]) -> Result<(), ApiError> {
        let computed = self.compute(parts, body).ok_or_else(mismatch)?;
        match bool::from(computed.as_bytes().ct_eq(self.given.signature.as_bytes())) {
            true => Ok(()),
            false => Err(mismatch()),
        }
    }

    /// None if the request cannot be signed: a header that is no text, say.
    fn compute(&self, parts: &Parts, body: &[u8]) -> Option<String> {
        let mut headers = Vec::new();
        for name in &self.given.headers {
            for value in parts.headers.get_all(*name) {
                headers.push((*name, value.to_str().ok()?));
            }
        }
        let mut settings = SigningSettings::default();
        settings.excluded_headers = None; // the client says which headers it signed
        let identity = self.key.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.given.region)
            .name(self.given.service)
            .time(SystemTime::from(self.at))
            .settings(settings)
            .build();
        let params = params.ok()?.into();
        // The path as it was sent was signed; the router sees it normalized.
        let uri = parts.extensions.get::<AsSent>().map_or(&parts.uri, |AsSent(sent)| sent);
        let uri = uri.path_and_query().map_or("/", |uri| uri.as_str());
        let body = SignableBody::Bytes(body);
        let request = SignableRequest::new(parts.method.as_str(), uri, headers.into_iter(), body).ok()?;
        Some(sign(request, &params).ok()?.into_parts().1)
    }
}

impl<'r> Given<'r> {
    fn read(authorization: &'r str, headers: &HeaderMap) -> Result<Given<'r>, ApiError> {
        let (algorithm, parameters) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}', only {ALGORITHM} here.")));
        }
        let parameter = |name: &str| {
            let mut pairs = parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let found = (parameter("Credential"), parameter("SignedHeaders"), parameter("Signature"));
        let (Some(credential), Some(signed), Some(signature), true) =
            (found.0, found.1, found.2, headers.contains_key("x-amz-date"))
        else {
            return Err(incomplete(lacks(found, headers)));
        };
        let parts: Vec<&str> = credential.splitn(6, '/').collect();
        let [id, date, region, service, "aws4_request"] = parts[..] else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request, \
                 got '{credential}'"
            )));
        };
        Ok(Given { id, date, region, service, headers: signed.split(';').collect(), signature })
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.headers.contains(&"host") {
            return Err(invalid("'Host' must be a 'SignedHeader' in the AWS Authorization."));
        }
        let unsigned = |name: &&str| name.starts_with("x-amz-") && !self.headers.contains(name);
        match headers.keys().map(|name| name.as_str()).find(unsigned) {
            Some(name) => Err(invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))),
            // A signed header that is missing would be computed as something else, or left out.
            None if self.headers.iter().any(|name| !headers.contains_key(*name)) => Err(mismatch()),
            None => Ok(()),
        }
    }

    fn check_scope(&self, at: Timestamp, called: Option<&str>) -> Result<(), ApiError> {
        if let Some(service) = called.filter(|service| *service != self.service) {
            return Err(invalid(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        if !SERVICES.contains(&self.service) {
            return Err(invalid(format!(
                "Credential should be scoped to one of the services {}.",
                SERVICES.join(", ")
            )));
        }
        let (day, time) = (at.strftime("%Y%m%d").to_string(), at.strftime(TIME));
        if self.date != day {
            return Err(invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{time}'.",
                self.date
            )));
        }
        Ok(())
    }
}

/// The service that a request calls; none for our own paths, which may be signed for any service.
fn called(parts: &Parts) -> Option<&'static str> {
    let target = text(&parts.headers, "x-amz-target").and_then(|target| target.split_once('.'));
    if let Some((service, _)) = target {
        return TARGETS.iter().find(|(name, _)| *name == service).map(|(_, service)| *service);
    }
    let begins = |(path, _): &&(&str, &str)| {
        parts.uri.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PATHS.iter().find(begins).map(|(_, service)| *service)
}

/// The error for an incomplete `Authorization` header, in AWS's words.
fn lacks(found: (Option<&str>, Option<&str>, Option<&str>), headers: &HeaderMap) -> String {
    let named = [("Credential", found.0), ("Signature", found.2), ("SignedHeaders", found.1)];
    let without = named.iter().filter(|(_, value)| value.is_none());
    let mut said: Vec<String> =
        without.map(|(name, _)| format!("Authorization header requires '{name}' parameter.")).collect();
    if !headers.contains_key("x-amz-date") {
        said.push("Authorization header requires existence of a 'X-Amz-Date' header.".into());
    }
    said.join(" ")
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Parses a time in exactly the format `20261124T023000Z`.
fn moment(text: &str) -> Result<Timestamp, ApiError> {
    let read = civil::DateTime::strptime(TIME, text).ok().and_then(|at| at.to_zoned(TimeZone::UTC).ok());
    let at = read.map(|at| at.timestamp()).filter(|at| at.strftime(TIME).to_string() == text);
    at.ok_or_else(|| {
        incomplete("Date must be in ISO-8601 'basic format', as in 20261124T023000Z. Look at header 'X-Amz-Date'.")
    })
}

fn check_time(at: Timestamp, now: Timestamp) -> Result<(), ApiError> {
    let skew = SKEW_MINUTES.minutes();
    let far = |_| incomplete("Date in header 'X-Amz-Date' is out of range.");
    let (earliest, latest) = (now.checked_sub(skew).map_err(far)?, now.checked_add(skew).map_err(far)?);
    let (signed, clock) = (at.strftime(TIME), now.strftime(TIME));
    if at < earliest {
        return Err(invalid(format!(
            "Signature expired: {signed} is now earlier than {} ({clock} - {SKEW_MINUTES} min.)",
            earliest.strftime(TIME)
        )));
    }
    if at > latest {
        return Err(invalid(format!(
            "Signature not yet current: {signed} is still later than {} ({clock} + {SKEW_MINUTES} min.)",
            latest.strftime(TIME)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    /// Of AWS's published test suite, `get-vanilla-query-order-key-case`: not signed by our own code.
    const ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn vanilla(signature: &str, service: &str) -> Parts {
        let scope = format!("{ID}/20150830/us-east-1/{service}/aws4_request");
        let value = format!("{ALGORITHM} Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}");
        let request = Request::get("/?Param2=value2&Param1=value1").header("host", "example.amazonaws.com");
        let request = request.header("x-amz-date", "20150830T123600Z").header("authorization", value);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_signature_that_aws_published_is_computed_again() {
        let signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        let parts = vanilla(signature, "service");
        let given = Given::read(parts.headers["authorization"].to_str().unwrap(), &parts.headers).unwrap();
        let key = Credentials::new(ID, SECRET, None, None, "test");
        let promising = Promising { given, key, at: moment("20150830T123600Z").unwrap() };
        assert!(promising.check(&parts, b"").is_ok());
        assert!(promising.check(&parts, b"{}").is_err(), "the body is signed");
    }

    #[test]
    fn a_signature_is_good_for_fifteen_minutes_in_both_directions() {
        let keys = AccessKeys::parse(&format!("{ID} {SECRET}")).unwrap();
        let parts = vanilla("0", "events");
        let verdict = |now: &str| look_at(&parts, &keys, moment(now).unwrap()).map(drop).map_err(|e| e.message);
        assert!(verdict("20150830T122100Z").is_ok() && verdict("20150830T125100Z").is_ok());
        assert_eq!(
            verdict("20150830T125101Z").unwrap_err(),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
        );
        assert!(verdict("20150830T122059Z").unwrap_err().starts_with("Signature not yet current: 20150830T123600Z"));
        assert!(look_at(&vanilla("0", "s3"), &keys, moment("20150830T123600Z").unwrap()).is_err());
    }

    #[test]
    fn moments_have_one_form() {
        for text in
            ["", "20150830", "2015-08-30T12:36:00Z", "20150830T123660Z", "20151330T123600Z", " 20150830T123600Z"]
        {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
