//! Authentication of players: none, on loopback only ([`Access::Open`]), or by a signed token ([`Access::Tokens`]).

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fakemon_engine::wall_clock;
use fakemon_model::event::{PlayerName, PlayerNameError};
use fakemon_model::ids::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// The shortest secret of HS256, in bytes (RFC 7518, 3.2): a shorter one can be guessed from one token.
const SECRET_BYTES_MIN: usize = 32;

/// How players are authenticated.
#[derive(Clone, Debug)]
pub enum Access {
    /// `?player=NAME`, without proof. Only for loopback.
    Open,
    /// `Authorization: Bearer JWT` or `?token=JWT`; the claim `sub` is the player.
    Tokens(TokenKeys),
}

/// Keys that verify tokens; at least one.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    hs256: Option<DecodingKey>,
    eddsa: Option<DecodingKey>,
    leeway: Duration,
}

/// Why a player is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Open mode, and no `player` in the query.
    #[error("say who plays: connect to /play?player=NAME")]
    NoPlayer,
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] PlayerNameError),
    /// The token is missing.
    #[error("a token is needed: send `Authorization: Bearer JWT`, or connect to /play?token=JWT")]
    NoToken,
    /// The token is not valid.
    #[error("the token is not accepted: {0}")]
    Token(Cow<'static, str>),
}

/// The player of a token, and its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The player.
    pub player: PlayerName,
    /// When it expires; none if it never does.
    pub expires_at: Option<Timestamp>,
}

impl TokenKeys {
    /// Keys from a shared secret (HS256), from a public key in PEM (EdDSA), or from both.
    pub fn new(hs256_secret: Option<&[u8]>, eddsa_public_pem: Option<&[u8]>) -> anyhow::Result<TokenKeys> {
        anyhow::ensure!(
            hs256_secret.is_some() || eddsa_public_pem.is_some(),
            "give a secret for HS256 or a public key for EdDSA"
        );
        anyhow::ensure!(
            hs256_secret.is_none_or(|secret| secret.len() >= SECRET_BYTES_MIN),
            "the HS256 secret has {} bytes: give at least {SECRET_BYTES_MIN}, as `openssl rand -hex 32` makes them",
            hs256_secret.unwrap_or_default().len()
        );
        Ok(TokenKeys {
            hs256: hs256_secret.map(DecodingKey::from_secret),
            eddsa: eddsa_public_pem.map(ed25519).transpose()?,
            leeway: Duration::ZERO,
        })
    }

    /// Accepts tokens this long before their `nbf` and after their `exp`, because issuers' clocks may differ.
    /// Default: none.
    #[must_use]
    pub fn with_leeway(self, leeway: Duration) -> TokenKeys {
        TokenKeys { leeway, ..self }
    }

    /// Verifies a token: its player, and its expiry. `exp` and `nbf` are checked if present.
    pub fn holder(&self, token: &str) -> Result<Holder, Refusal> {
        self.holder_at(token, wall_clock())
    }

    fn holder_at(&self, token: &str, now: Timestamp) -> Result<Holder, Refusal> {
        let claims = self.claims(token).map_err(Refusal::Token)?;
        let leeway_ns = u64::try_from(self.leeway.as_nanos()).unwrap_or(u64::MAX);
        let refused = |why: &'static str| Refusal::Token(why.into());
        let expires_at = time(&claims, "exp").map_err(refused)?.map(|at| at.plus_ns(leeway_ns));
        if expires_at.is_some_and(|at| at <= now) {
            return Err(refused("it has expired (claim `exp`)"));
        }
        if time(&claims, "nbf").map_err(refused)?.is_some_and(|at| at > now.plus_ns(leeway_ns)) {
            return Err(refused("it is not valid yet (claim `nbf`; the setting auth.leeway allows for clocks)"));
        }
        let player = match claims.get("sub") {
            Some(Value::String(name)) => PlayerName::new(name)
                .map_err(|error| Refusal::Token(format!("its claim `sub` names nobody: {error}").into()))?,
            Some(_) => return Err(refused("its claim `sub` must be a string")),
            None => return Err(refused("it has no claim `sub`, which names the player")),
        };
        Ok(Holder { player, expires_at })
    }

    /// What a token with a signature of ours says; or what is wrong with it.
    fn claims(&self, token: &str) -> Result<Map<String, Value>, Cow<'static, str>> {
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NO_TOKEN.into());
        };
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| NO_TOKEN)?;
        let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| NO_TOKEN)?;
        // Critical extensions must be understood or rejected (RFC 7515, 4.1.11).
        if header.contains_key("crit") {
            return Err("its header asks for extensions (`crit`), and none is known here".into());
        }
        let (algorithm, key) = match header.get("alg").and_then(Value::as_str) {
            Some("HS256") => (Algorithm::HS256, self.hs256.as_ref()),
            Some("EdDSA") => (Algorithm::EdDSA, self.eddsa.as_ref()),
            Some("none") => return Err("it is not signed (its algorithm is `none`)".into()),
            Some(_) => return Err("its algorithm is not one of HS256 and EdDSA".into()),
            None => return Err("its header names no algorithm (`alg`)".into()),
        };
        let key = key.ok_or(match algorithm {
            Algorithm::HS256 => "no key is configured for its algorithm, HS256 (setting auth.hs256_secret_file)",
            _ => "no key is configured for its algorithm, EdDSA (setting auth.eddsa_public_key_file)",
        })?;
        let mut validation = Validation::new(algorithm);
        // Times are compared below, to the nanosecond.
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        validation.required_spec_claims.clear();
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation);
        token.map(|token| token.claims).map_err(|error| reason(&error))
    }
}

const NO_TOKEN: &str = "it is not a JWT";

/// A claim that is a time: seconds since 1970, with a fraction if need be.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, &'static str> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or(match name {
        "exp" => "its claim `exp` must be a number of seconds since 1970",
        _ => "its claim `nbf` must be a number of seconds since 1970",
    })?;
    let whole = value.as_u64().and_then(|seconds| seconds.checked_mul(1_000_000_000));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates: such a time is far away")]
    Ok(Some(Timestamp(whole.unwrap_or((seconds * 1e9) as u64))))
}

/// The value of the header `Authorization`, if it is text.
///
/// # Errors
/// It is there twice.
pub fn only_authorization(headers: &http::HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err("Authorization is there twice: leave one of them"),
        (value, None) => Ok(value.and_then(|value| value.to_str().ok())),
    }
}

/// The token of a request: `Authorization: Bearer JWT`, else the query parameter `token`. The same at all endpoints;
/// other schemes are ignored.
pub fn shown<'t>(authorization: Option<&'t str>, query: Option<&'t str>) -> Result<&'t str, Refusal> {
    let bearer = authorization.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    bearer.or(query).filter(|token| !token.is_empty()).ok_or(Refusal::NoToken)
}

/// The secret in a file: its bytes without the final line break that editors and shells add; true if there was one,
/// so that it can be logged.
pub fn secret_of(bytes: &[u8]) -> (&[u8], bool) {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let text =
        text.map(|text| text.strip_suffix('\r').unwrap_or(text)).filter(|text| !text.contains(char::is_control));
    (text.map_or(bytes, str::as_bytes), text.is_some())
}

fn ed25519(pem: &[u8]) -> anyhow::Result<DecodingKey> {
    const REMEDY: &str = "the EdDSA key must be an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)";
    let key = DecodingKey::from_ed_pem(pem).context(REMEDY)?;
    let length = key.try_get_as_bytes().context(REMEDY)?.len();
    anyhow::ensure!(length == 32, REMEDY);
    Ok(key)
}

/// What may be told of a token to the one who sent it.
fn reason(error: &jsonwebtoken::errors::Error) -> Cow<'static, str> {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => "its signature does not match".into(),
        ErrorKind::InvalidClaimFormat(_) => "its claims must be a JSON object".into(),
        ErrorKind::Json(error) if error.to_string().starts_with("invalid type") => {
            "its claims must be a JSON object".into()
        }
        ErrorKind::Json(error) => unread(&error.to_string()),
        _ => NO_TOKEN.into(),
    }
}

/// What the parser of a token says, in words for its sender.
fn unread(said: &str) -> Cow<'static, str> {
    let twice = said.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`'));
    match twice {
        Some((name, _)) => format!("its member `{name}` is there twice").into(),
        None if said.starts_with("number out of range") => "it cannot be read: a number in it is out of range".into(),
        None if said.starts_with("unknown variant") => "its algorithm is not one of HS256 and EdDSA".into(),
        None => "it cannot be read: its header and its claims must be JSON objects".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
    // A key pair made for this test alone.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEI7pr5qAEAWLUpMWadoxYmEx4/1SZNtAFa5XVfPCRTN\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAjmksofHXv0Da6WKx/UbhKUvIKPAoWn5bPbXeCj7CrLw=\n-----END PUBLIC KEY-----\n";

    fn keys() -> TokenKeys {
        TokenKeys::new(Some(SECRET), Some(PUBLIC.as_bytes())).unwrap()
    }

    fn hs256(claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn eddsa(claims: &Value) -> String {
        let key = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap();
        encode(&Header::new(Algorithm::EdDSA), claims, &key).unwrap()
    }

    #[test]
    fn both_kinds_of_tokens_are_accepted() {
        for claims in [
            json!({"sub": "ana"}),
            json!({"sub": "ana", "exp": 4_000_000_000u64, "nbf": 1, "aud": "someone", "more": [1]}),
        ] {
            for token in [hs256(&claims), eddsa(&claims)] {
                assert_eq!(keys().holder(&token).unwrap().player.as_str(), "ana");
            }
        }
    }

    #[test]
    fn a_token_says_how_long_it_is_good() {
        let expires_at = |claims| keys().holder(&hs256(&claims)).unwrap().expires_at;
        assert_eq!(expires_at(json!({"sub": "ana"})), None);
        assert_eq!(
            expires_at(json!({"sub": "ana", "exp": 4_000_000_000u64})),
            Some(Timestamp(4_000_000_000_000_000_000))
        );
        assert_eq!(expires_at(json!({"sub": "ana", "exp": 1e11})), Some(Timestamp(u64::MAX)));
    }

    #[test]
    fn tokens_that_prove_nothing_are_refused() {
        let good = hs256(&json!({"sub": "ana"}));
        let (head, _) = good.rsplit_once('.').unwrap();
        let payload = head.split_once('.').unwrap().1;
        let none = format!("eyJhbGciOiJub25lIn0.{payload}.");
        let other = EncodingKey::from_secret(b"another secret");
        let forged = encode(&Header::new(Algorithm::HS256), &json!({"sub": "ana"}), &other).unwrap();
        let hs512 = encode(&Header::new(Algorithm::HS512), &json!({"sub": "ana"}), &EncodingKey::from_secret(SECRET));
        // The algorithm confusion attack: the public key used as the shared secret.
        let public = EncodingKey::from_secret(PUBLIC.as_bytes());
        let confused = encode(&Header::new(Algorithm::HS256), &json!({"sub": "ana"}), &public).unwrap();
        for token in [
            "",
            "a.b.c",
            "....",
            head,
            &none,
            &forged,
            &confused,
            &hs512.unwrap(),
            &hs256(&json!({"sub": "ana", "exp": 1})),
            &eddsa(&json!({"sub": "ana", "exp": 1})),
            &hs256(&json!({"sub": "ana", "nbf": 4_000_000_000u64})),
            &hs256(&json!({"name": "ana"})),
            &hs256(&json!({"sub": 7})),
        ] {
            assert!(matches!(keys().holder(token), Err(Refusal::Token(_))), "{token}");
        }
    }

    /// A token with claims as they are written here.
    fn as_written(claims: &str) -> String {
        let head = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(head.as_bytes(), &EncodingKey::from_secret(SECRET), Algorithm::HS256);
        format!("{head}.{}", signature.unwrap())
    }

    #[test]
    fn what_is_wrong_with_a_token_is_named() {
        let signed = |header: Value, claims: Value| {
            let mut token = Header::new(Algorithm::HS256);
            token.crit = header.get("crit").map(|crit| serde_json::from_value(crit.clone()).unwrap());
            encode(&token, &claims, &EncodingKey::from_secret(SECRET)).unwrap()
        };
        let unsigned = |header: &str| format!("{}.e30.", URL_SAFE_NO_PAD.encode(header));
        let claims = |claims: Value| signed(json!({}), claims);
        let two = "a.b".to_owned();
        for (token, named) in [
            (signed(json!({"crit": ["x"]}), json!({"sub": "ana"})), "crit"),
            (unsigned(r#"{"alg":"none"}"#), "not signed"),
            (unsigned(r#"{"alg":"RS256"}"#), "HS256 and EdDSA"),
            (unsigned("{}"), "`alg`"),
            (unsigned("[]"), "not a JWT"),
            (two, "not a JWT"),
            (claims(json!({})), "no claim `sub`"),
            (claims(json!({"sub": 7})), "`sub` must be a string"),
            (claims(json!({"sub": "ana", "exp": "soon"})), "`exp` must be a number"),
            (claims(json!({"sub": "ana", "nbf": null})), "`nbf` must be a number"),
            (claims(json!(["ana"])), "claims must be a JSON object"),
            (claims(json!({"sub": "tab\there"})), "`sub` names nobody"),
            (claims(json!({"sub": ""})), "`sub` names nobody"),
            (claims(json!({"sub": "a".repeat(65)})), "`sub` names nobody"),
            (as_written(r#"{"sub":"ana","sub":"ben"}"#), "`sub` is there twice"),
            (as_written(r#"{"sub":"ana","exp":1,"exp":4000000000}"#), "`exp` is there twice"),
            (as_written(r#"{"sub":"ana","exp":1e400}"#), "out of range"),
            (as_written(r#"{"sub":"ana","#), "cannot be read"),
        ] {
            let refusal = keys().holder(&token).unwrap_err().to_string();
            assert!(refusal.contains(named), "{named}: {refusal}");
        }
        let none = TokenKeys::new(None, Some(PUBLIC.as_bytes())).unwrap();
        let refusal = none.holder(&claims(json!({"sub": "ana"}))).unwrap_err().to_string();
        assert!(refusal.contains("auth.hs256_secret_file"), "{refusal}");
    }

    #[test]
    fn times_are_exact_but_for_the_leeway() {
        let (strict, lenient) = (keys(), keys().with_leeway(Duration::from_secs(2)));
        let token = hs256(&json!({"sub": "ana", "nbf": 1_000, "exp": 2_000.5}));
        let at = |keys: &TokenKeys, ms: u64| {
            keys.holder_at(&token, Timestamp(ms * 1_000_000)).map(|holder| holder.expires_at.unwrap().0 / 1_000_000)
        };
        for (ms, is_valid) in [(999_999, false), (1_000_000, true), (2_000_499, true), (2_000_500, false)] {
            assert_eq!(at(&strict, ms).is_ok(), is_valid, "{ms}");
        }
        for (ms, is_valid) in [(997_999, false), (998_000, true), (2_002_499, true), (2_002_500, false)] {
            assert_eq!(at(&lenient, ms).is_ok(), is_valid, "{ms}");
        }
        assert_eq!((at(&strict, 1_500_000), at(&lenient, 1_500_000)), (Ok(2_000_500), Ok(2_002_500)));
        assert!(at(&strict, 0).unwrap_err().to_string().contains("auth.leeway"));
    }

    #[test]
    fn a_secret_is_its_bytes_but_for_the_line_break_at_the_end_of_a_text() {
        for (bytes, secret, is_cut) in [
            (&b"secret"[..], &b"secret"[..], false),
            (b"secret\n", b"secret", true),
            (b"secret\r\n", b"secret", true),
            (b"secret \n", b"secret ", true),
            (b" secret ", b" secret ", false),
            (b"secret\n\n", b"secret\n\n", false),
            (b"\xFF\x01\n", b"\xFF\x01\n", false),
            (b"a\x00b\n", b"a\x00b\n", false),
        ] {
            assert_eq!(secret_of(bytes), (secret, is_cut), "{bytes:?}");
        }
    }

    #[test]
    fn a_token_is_shown_in_one_way_at_every_door() {
        for (header, query, token) in [
            (Some("Bearer a"), Some("b"), Ok("a")),
            (Some("bearer  a "), None, Ok("a")),
            (Some("Basic a"), Some("b"), Ok("b")),
            (Some("Basic a"), None, Err(Refusal::NoToken)),
            (Some("a"), None, Err(Refusal::NoToken)),
            (None, Some(""), Err(Refusal::NoToken)),
            (None, Some("b"), Ok("b")),
        ] {
            assert_eq!(shown(header, query), token, "{header:?} {query:?}");
        }
    }

    #[test]
    fn a_key_opens_only_its_own_algorithm() {
        let only_eddsa = TokenKeys::new(None, Some(PUBLIC.as_bytes())).unwrap();
        assert!(only_eddsa.holder(&hs256(&json!({"sub": "ana"}))).is_err());
        let only_hs256 = TokenKeys::new(Some(SECRET), None).unwrap();
        assert!(only_hs256.holder(&eddsa(&json!({"sub": "ana"}))).is_err());
        assert!(TokenKeys::new(None, None).is_err());
        for secret in [&b""[..], b"x", &[b'x'; 31]] {
            assert!(TokenKeys::new(Some(secret), None).unwrap_err().to_string().contains("at least 32"));
        }
        assert!(TokenKeys::new(None, Some(b"no key")).is_err());
        assert!(TokenKeys::new(None, Some(PRIVATE.as_bytes())).is_err());
    }
}
