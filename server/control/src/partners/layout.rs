//! How partners sign: the header of the signature, its format, and the signed content. The known layouts are cases of
//! the generic one; the same code checks all.
//!
//! | layout | header | format | signed content |
//! |---|---|---|---|
//! | `github` | `x-hub-signature-256` | `sha256=` hexadecimal | the body |
//! | `stripe` | `stripe-signature` | `t=SECONDS,v1=` hexadecimal, several `v1` | `TIMESTAMP.BODY` |
//! | `slack` | `x-slack-signature`, `x-slack-request-timestamp` | `v0=` hexadecimal | `v0:TIMESTAMP:BODY` |
//! | `shopify` | `x-shopify-hmac-sha256` | base 64 | the body |
//! | `standard` | `webhook-signature`, `-id`, `-timestamp` | `v1,` base 64, several | `ID.TIMESTAMP.BODY` |
//! | `generic` | as the settings say | | |
//!
//! An event with an id is deduplicated by the id alone, because two events may have the same body, and so the same
//! signature. The ids of `github` (`x-github-delivery`) and `shopify` (`x-shopify-webhook-id`), and of `generic` if
//! its content has no `{id}`, are not signed. They are trusted all the same: an attacker who can read a delivery, and
//! so replay it with another id, has broken the TLS in front of this address or is one of its ends; nothing that
//! these layouts sign would stop such an attacker, and no other attacker can do it.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD as BASE64_UNPADDED};
use fakemon_http::standard_webhooks;
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// Signatures of one request that are checked.
const SIGNATURES_MAX: usize = 16;
/// The longest id of an event, in bytes.
const ID_BYTES_MAX: usize = 256;

/// The layout of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Layout {
    Github,
    Stripe,
    Slack,
    Shopify,
    Standard,
    Generic,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    #[default]
    Hex,
    Base64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Algorithm {
    Sha1,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

/// Format of the signature's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One value, behind a prefix.
    One,
    /// `t=…,v1=…`: pairs, the timestamp among them.
    Pairs,
    /// Separated by spaces.
    List,
}

/// A layout with all its parts.
#[derive(Clone, Debug)]
pub(super) struct Scheme {
    form: Form,
    header: String,
    prefix: String,
    encoding: Encoding,
    algorithm: Algorithm,
    content: Vec<Part>,
    timestamp_header: Option<String>,
    id_header: Option<String>,
    /// Whether a secret is written as `whsec_BASE64`.
    standard_secrets: bool,
}

/// A part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
    Id,
    Header(String),
}

/// Settings of the generic layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generic {
    /// Header of the signature.
    pub(super) header: String,
    /// Prefix of the signature's value.
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) encoding: Encoding,
    #[serde(default)]
    pub(super) algorithm: Algorithm,
    /// The signed content: text with `{body}`, `{timestamp}`, `{id}`, `{header:NAME}`.
    #[serde(default = "body_alone")]
    pub(super) content: String,
    /// Header of the time of signing, in seconds or milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timestamp_header: Option<String>,
    /// Header of the event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id_header: Option<String>,
}

fn body_alone() -> String {
    "{body}".into()
}

/// The facts of a valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// The MAC; identifies the request, because a retry has the same.
    pub(super) mac: Vec<u8>,
    /// When it was signed, in seconds since 1970.
    pub(super) at_s: Option<u64>,
    /// The id of the event, if the layout has one beside the body.
    pub(super) id: Option<String>,
}

/// Why a request is rejected. The sender learns no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forged {
    /// A header is missing or malformed.
    Headers,
    /// No secret gives this signature.
    Signature,
    /// Signed too long ago, or in the future.
    Time,
}

/// The present time, and how far from it a signature is valid, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) now_s: u64,
    pub(super) tolerance_s: u64,
}

impl Scheme {
    /// Builds the scheme of a layout; or the invalid field of the generic one, and why.
    pub(super) fn of(layout: Layout, generic: Option<&Generic>) -> Result<Scheme, (&'static str, String)> {
        let known = |form, header: &str, prefix: &str, encoding, content: &str, timestamp: Option<&str>| Scheme {
            form,
            header: header.into(),
            prefix: prefix.into(),
            encoding,
            algorithm: Algorithm::Sha256,
            content: parts(content).expect("ours are well-formed"),
            timestamp_header: timestamp.map(str::to_owned),
            id_header: None,
            standard_secrets: false,
        };
        Ok(match layout {
            Layout::Github => known(Form::One, "x-hub-signature-256", "sha256=", Encoding::Hex, "{body}", None),
            Layout::Stripe => {
                known(Form::Pairs, "stripe-signature", "v1=", Encoding::Hex, "{timestamp}.{body}", None)
            }
            Layout::Slack => {
                let timestamp = Some("x-slack-request-timestamp");
                known(Form::One, "x-slack-signature", "v0=", Encoding::Hex, "v0:{timestamp}:{body}", timestamp)
            }
            Layout::Shopify => known(Form::One, "x-shopify-hmac-sha256", "", Encoding::Base64, "{body}", None),
            Layout::Standard => Scheme {
                id_header: Some(standard_webhooks::ID.into()),
                standard_secrets: true,
                ..known(
                    Form::List,
                    standard_webhooks::SIGNATURE,
                    "v1,",
                    Encoding::Base64,
                    "{id}.{timestamp}.{body}",
                    Some(standard_webhooks::TIMESTAMP),
                )
            },
            Layout::Generic => {
                Scheme::generic(generic.ok_or(("signature", "signature must say how requests are signed".into()))?)?
            }
        })
    }

    fn generic(told: &Generic) -> Result<Scheme, (&'static str, String)> {
        let content = parts(&told.content).map_err(|what| ("signature.content", what))?;
        if !content.contains(&Part::Body) {
            return Err(("signature.content", "signature.content must hold {body}: else any body would do".into()));
        }
        for (part, header, field) in [
            (Part::Timestamp, &told.timestamp_header, "signature.timestamp_header"),
            (Part::Id, &told.id_header, "signature.id_header"),
        ] {
            // A timestamp that is not signed proves nothing, and one that is signed needs a header.
            if (part == Part::Timestamp || header.is_none()) && content.contains(&part) != header.is_some() {
                let message = format!("{field} and its place in signature.content go together");
                return Err((field, message));
            }
        }
        let named = [Some(&told.header), told.timestamp_header.as_ref(), told.id_header.as_ref()];
        let in_content = content.iter().filter_map(|part| match part {
            Part::Header(name) => Some(name),
            _ => None,
        });
        for name in named.into_iter().flatten().chain(in_content) {
            if name.parse::<axum::http::HeaderName>().is_err() {
                return Err(("signature.header", format!("`{name}` is no name of a header")));
            }
        }
        Ok(Scheme {
            form: Form::One,
            header: told.header.clone(),
            prefix: told.prefix.clone(),
            encoding: told.encoding,
            algorithm: told.algorithm,
            content,
            timestamp_header: told.timestamp_header.clone(),
            id_header: told.id_header.clone(),
            standard_secrets: false,
        })
    }

    /// Whether signatures have a timestamp.
    pub(super) fn is_timed(&self) -> bool {
        self.content.contains(&Part::Timestamp)
    }

    /// Whether a text is a valid secret in this layout.
    pub(super) fn takes_secret(&self, secret: &str) -> bool {
        !self.standard_secrets || standard_webhooks::bytes(secret).is_some()
    }

    /// Checks the signature of a request against all secrets.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        secrets: &[String],
        window: Window,
    ) -> Result<Signed, Forged> {
        let header = text(headers, &self.header).ok_or(Forged::Headers)?;
        let (given, timestamp) = self.read(header, headers)?;
        let id = match &self.id_header {
            Some(name) => Some(text(headers, name).filter(|id| id.len() <= ID_BYTES_MAX).ok_or(Forged::Headers)?),
            None => None,
        };
        for secret in secrets {
            let Some(mac) = self.mac(secret, timestamp, id, headers, body) else { continue };
            if given.iter().any(|given| bool::from(given.as_slice().ct_eq(mac.as_ref()))) {
                let at_s = self.moment(timestamp, window)?;
                return Ok(Signed { mac: mac.as_ref().to_vec(), at_s, id: id.map(str::to_owned) });
            }
        }
        Err(Forged::Signature)
    }

    /// The signatures of a request, and its timestamp.
    fn read<'h>(&self, header: &'h str, headers: &'h HeaderMap) -> Result<(Vec<Vec<u8>>, &'h str), Forged> {
        let decoded = |text: &str| decode(self.encoding, text.strip_prefix(self.prefix.as_str())?);
        let timestamp = match &self.timestamp_header {
            Some(name) => text(headers, name).ok_or(Forged::Headers)?,
            None => header.split(',').find_map(|pair| pair.trim().strip_prefix("t=")).unwrap_or_default(),
        };
        let given: Vec<Vec<u8>> = match self.form {
            Form::One => decoded(header.trim()).into_iter().collect(),
            Form::Pairs => header.split(',').filter_map(|pair| decoded(pair.trim())).take(SIGNATURES_MAX).collect(),
            Form::List => header.split_ascii_whitespace().filter_map(decoded).take(SIGNATURES_MAX).collect(),
        };
        if given.is_empty() { Err(Forged::Headers) } else { Ok((given, timestamp)) }
    }

    fn mac(
        &self,
        secret: &str,
        timestamp: &str,
        id: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<hmac::Tag> {
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha384 => hmac::HMAC_SHA384,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        let key = match self.standard_secrets {
            true => hmac::Key::new(algorithm, &standard_webhooks::bytes(secret)?),
            false => hmac::Key::new(algorithm, secret.as_bytes()),
        };
        let mut mac = hmac::Context::with_key(&key);
        for part in &self.content {
            mac.update(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Body => body,
                Part::Timestamp => timestamp.as_bytes(),
                Part::Id => id?.as_bytes(),
                Part::Header(name) => headers.get(name)?.as_bytes(),
            });
        }
        Some(mac.sign())
    }

    fn moment(&self, timestamp: &str, window: Window) -> Result<Option<u64>, Forged> {
        if !self.is_timed() {
            return Ok(None);
        }
        let digits = timestamp.bytes().all(|b| b.is_ascii_digit());
        let number = timestamp.parse::<u64>().ok().filter(|_| digits).ok_or(Forged::Headers)?;
        // Thirteen digits are milliseconds until the year 2286.
        let at_s = if timestamp.len() >= 13 { number / 1_000 } else { number };
        if at_s.abs_diff(window.now_s) > window.tolerance_s { Err(Forged::Time) } else { Ok(Some(at_s)) }
    }
}

/// The only value of a header; none if there are several, because it is unknown which one was signed.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Base64 => BASE64.decode(text).or_else(|_| BASE64_UNPADDED.decode(text)).ok(),
        Encoding::Hex => {
            let digit = |b: u8| char::from(b).to_digit(16);
            let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
            text.len().is_multiple_of(2).then(|| text.as_bytes().chunks_exact(2).map(byte).collect())?
        }
    }
}

/// Parses the signed content into its parts.
fn parts(content: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = content;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}').ok_or("signature.content has a brace that is not closed")?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(match name {
            "body" => Part::Body,
            "timestamp" => Part::Timestamp,
            "id" => Part::Id,
            _ => match name.strip_prefix("header:") {
                Some(name) => Part::Header(name.to_owned()),
                None => return Err(format!("signature.content has {{{name}}}, which is none of {{body}}, {{timestamp}}, {{id}}, {{header:NAME}}")),
            },
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn check(layout: Layout, pairs: &[(&'static str, &str)], body: &str, secret: &str, now_s: u64) -> Option<Forged> {
        let scheme = Scheme::of(layout, None).unwrap();
        let window = Window { now_s, tolerance_s: 300 };
        scheme.check(&headers(pairs), body.as_bytes(), &["other".into(), secret.into()], window).err()
    }

    const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                              &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                              &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554\
                              %2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const STANDARD_BODY: &str = r#"{"test": 2432232314}"#;

    #[test]
    fn examples_that_partners_published_are_good() {
        // GitHub: "Validating webhook deliveries".
        let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let github = [("x-hub-signature-256", github)];
        assert_eq!(check(Layout::Github, &github, "Hello, World!", "It's a Secret to Everybody", 0), None);
        // Slack: "Verifying requests from Slack".
        let slack = [
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ];
        assert_eq!(check(Layout::Slack, &slack, SLACK_BODY, "8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_700), None);
        // Standard Webhooks: the reference libraries.
        let standard = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1a,x v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        assert_eq!(check(Layout::Standard, &standard, STANDARD_BODY, STANDARD_SECRET, 1_614_265_030), None);
        // As SQLPage's tests have Shopify's.
        let shopify = [("x-shopify-hmac-sha256", "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=")];
        let order = r#"{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}"#;
        assert_eq!(check(Layout::Shopify, &shopify, order, "test-webhook-secret", 0), None);
        // Computed by Stripe's Python library.
        let stripe = [("stripe-signature", STRIPE)];
        assert_eq!(check(Layout::Stripe, &stripe, STRIPE_BODY, "whsec_test_secret", 1_700_000_000), None);
    }

    const STRIPE: &str = "t=1700000000,v1=00,v1=ac1ab887a13a43f7e22e9eb21eab375b1f40446fa99ade9b6a94fca7f66acd38,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39";
    const STRIPE_BODY: &str = r#"{"id":"evt_1","object":"event","type":"charge.succeeded"}"#;

    #[test]
    fn whatever_is_changed_is_forged() {
        let good = [("stripe-signature", STRIPE)];
        let at = 1_700_000_000;
        let stripe = |pairs: &[(&'static str, &str)], body: &str, now_s| {
            check(Layout::Stripe, pairs, body, "whsec_test_secret", now_s)
        };
        assert_eq!(stripe(&good, STRIPE_BODY, at + 300), None);
        assert_eq!(stripe(&good, STRIPE_BODY, at + 301), Some(Forged::Time));
        assert_eq!(stripe(&good, STRIPE_BODY, at - 301), Some(Forged::Time));
        assert_eq!(stripe(&good, "{}", at), Some(Forged::Signature));
        assert_eq!(stripe(&[], STRIPE_BODY, at), Some(Forged::Headers));
        let later = STRIPE.replace("t=1700000000", "t=1700000001");
        assert_eq!(stripe(&[("stripe-signature", &later)], STRIPE_BODY, at), Some(Forged::Signature));
        let twice = [good[0], ("stripe-signature", "t=1")];
        assert_eq!(stripe(&twice, STRIPE_BODY, at), Some(Forged::Headers), "two headers, and who knows which counts");
        for value in ["", "t=1700000000", "t=1700000000,v1=", "v1=zz", "t=,v1=00", &"v1=00,".repeat(10_000)] {
            assert!(stripe(&[("stripe-signature", value)], STRIPE_BODY, at).is_some(), "{value}");
        }
        let wrong_id = [
            ("webhook-id", "msg_other"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let forged = check(Layout::Standard, &wrong_id, STANDARD_BODY, STANDARD_SECRET, 1_614_265_330);
        assert_eq!(forged, Some(Forged::Signature));
    }

    #[test]
    fn a_generic_layout_signs_what_it_says() {
        let told = |content: &str| Generic {
            header: "x-sig".into(),
            prefix: String::new(),
            encoding: Encoding::Base64,
            algorithm: Algorithm::Sha512,
            content: content.into(),
            timestamp_header: Some("x-time".into()),
            id_header: None,
        };
        let scheme = Scheme::of(Layout::Generic, Some(&told("{header:x-shop}|{timestamp}|{body}"))).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA512, b"hush");
        let signature = BASE64.encode(hmac::sign(&key, b"shop|1700000000000|{}"));
        let with = headers(&[("x-sig", &signature), ("x-time", "1700000000000"), ("x-shop", "shop")]);
        let window = Window { now_s: 1_700_000_100, tolerance_s: 300 };
        let signed = scheme.check(&with, b"{}", &["hush".into()], window).unwrap();
        assert_eq!((signed.at_s, signed.id), (Some(1_700_000_000), None));
        for (content, field) in [
            ("{timestamp}", "signature.content"),
            ("{body}", "signature.timestamp_header"),
            ("{timestamp}{id}{body}", "signature.id_header"),
            ("{timestamp}{body}{what}", "signature.content"),
            ("{timestamp}{body", "signature.content"),
            ("{timestamp}{body}{header:a b}", "signature.header"),
        ] {
            assert_eq!(Scheme::of(Layout::Generic, Some(&told(content))).unwrap_err().0, field, "{content}");
        }
    }
}
