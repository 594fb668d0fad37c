//! Standard Webhooks (standardwebhooks.com): the headers of a signed webhook, incoming or outgoing.
//!
//! ```text
//! webhook-id: ID                   of the event, the same on every attempt
//! webhook-timestamp: 1700000000    of the attempt, in seconds
//! webhook-signature: v1,BASE64 …   HMAC-SHA256 of `ID.TIMESTAMP.BODY`, one for each valid secret
//! ```
//!
//! A secret is 24 to 64 random bytes, written `whsec_BASE64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";
/// Prefix of a secret.
pub const PREFIX: &str = "whsec_";

/// Bytes of a new secret.
const SECRET_BYTES: usize = 32;

/// A new random secret.
pub fn new_secret() -> String {
    format!("{PREFIX}{}", BASE64.encode(random::<SECRET_BYTES>()))
}

/// Random bytes from the system's secure generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("a machine without random numbers can keep no secret");
    bytes
}

/// The bytes of a secret in its text form; none if it is not valid.
pub fn bytes(secret: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(secret.strip_prefix(PREFIX)?).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

/// A key for signing requests. No `Debug`, so that it is never logged.
#[derive(Clone)]
pub struct Signer(hmac::Key);

impl Signer {
    /// None if the text is not a valid secret.
    pub fn new(secret: &str) -> Option<Signer> {
        Some(Signer(hmac::Key::new(hmac::HMAC_SHA256, &bytes(secret)?)))
    }

    fn sign(&self, id: &str, timestamp_s: u64, body: &str) -> String {
        let mut mac = hmac::Context::with_key(&self.0);
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", BASE64.encode(mac.sign()))
    }
}

/// The headers of a request.
pub fn headers(signers: &[Signer], id: &str, timestamp_s: u64, body: &str) -> [(&'static str, String); 3] {
    let signatures: Vec<String> = signers.iter().map(|signer| signer.sign(id, timestamp_s, body)).collect();
    [(ID, id.to_owned()), (TIMESTAMP, timestamp_s.to_string()), (SIGNATURE, signatures.join(" "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_signed_as_published() {
        // From the specification's reference libraries.
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let headers = headers(
            &[signer.clone(), signer],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(headers[2], (SIGNATURE, format!("{one} {one}")));
        assert_eq!((headers[0].1.as_str(), headers[1].1.as_str()), ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"));
    }

    #[test]
    fn new_secrets_are_secrets_and_short_ones_are_not() {
        assert!(bytes(&new_secret()).is_some_and(|bytes| bytes.len() == SECRET_BYTES));
        assert_ne!(new_secret(), new_secret());
        for text in ["", "whsec_", "whsec_MfKQ", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!"] {
            assert!(Signer::new(text).is_none(), "{text}");
        }
    }
}
