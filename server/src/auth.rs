//! Who a player is: taken at their word on loopback ([`Access::Open`]), or by a signed token ([`Access::Tokens`]).

use anyhow::Context as _;
use fakemon_engine::ids::Timestamp;
use fakemon_engine::model::{PlayerName, PlayerNameError};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// How players say who they are.
#[derive(Clone, Debug)]
pub enum Access {
    /// `?player=NAME`, believed. Only for loopback.
    Open,
    /// `Authorization: Bearer JWT` or `?token=JWT`; the claim `sub` is the player.
    Tokens(TokenKeys),
}

/// Keys that tokens are checked with; at least one.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    hs256: Option<DecodingKey>,
    eddsa: Option<DecodingKey>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Open mode, and no `player` in the query.
    #[error("say who plays: connect to /play?player=NAME")]
    NoPlayer,
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] PlayerNameError),
    /// No token where one is needed.
    #[error("a token is needed: send `Authorization: Bearer JWT`, or connect to /play?token=JWT")]
    NoToken,
    /// A token that proves nothing.
    #[error("the token is not accepted: {0}")]
    Token(&'static str),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: Option<f64>,
}

/// Whom a token speaks for, and how long.
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
        anyhow::ensure!(hs256_secret.is_none_or(|secret| !secret.is_empty()), "the HS256 secret is empty");
        Ok(TokenKeys {
            hs256: hs256_secret.map(DecodingKey::from_secret),
            eddsa: eddsa_public_pem.map(ed25519).transpose()?,
        })
    }

    /// The player a token speaks for. `exp` and `nbf` count where they are given.
    pub fn player(&self, token: &str) -> Result<PlayerName, Refusal> {
        self.holder(token).map(|holder| holder.player)
    }

    /// The player a token speaks for, and until when.
    pub fn holder(&self, token: &str) -> Result<Holder, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| Refusal::Token(reason(&error)))?;
        let key = match header.alg {
            Algorithm::HS256 => self.hs256.as_ref(),
            Algorithm::EdDSA => self.eddsa.as_ref(),
            _ => None,
        };
        let key = key.ok_or(Refusal::Token("its algorithm is not one of those configured (HS256, EdDSA)"))?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let token = jsonwebtoken::decode::<Claims>(token, key, &validation)
            .map_err(|error| Refusal::Token(reason(&error)))?;
        let Claims { sub, exp } = token.claims;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates: such a token lasts")]
        let expires_at = exp.map(|seconds| Timestamp((seconds * 1e9) as u64));
        Ok(Holder { player: PlayerName::new(&sub)?, expires_at })
    }
}

fn ed25519(pem: &[u8]) -> anyhow::Result<DecodingKey> {
    const REMEDY: &str = "the EdDSA key must be an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)";
    let key = DecodingKey::from_ed_pem(pem).context(REMEDY)?;
    let length = key.try_get_as_bytes().context(REMEDY)?.len();
    anyhow::ensure!(length == 32, REMEDY);
    Ok(key)
}

/// What may be told of a token to the one who sent it.
fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidSignature => "its signature does not match",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "its algorithm is not one of those configured"
        }
        ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => "its claims must be an object with a string `sub`",
        _ => "it is not a JWT",
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
                assert_eq!(keys().player(&token).unwrap().as_str(), "ana");
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
        // The classic: the public key, which everybody knows, taken for a shared secret.
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
            assert!(matches!(keys().player(token), Err(Refusal::Token(_))), "{token}");
        }
        let name = hs256(&json!({"sub": "tab\there"}));
        assert_eq!(keys().player(&name), Err(Refusal::Name(PlayerNameError)));
    }

    #[test]
    fn a_key_opens_only_its_own_algorithm() {
        let only_eddsa = TokenKeys::new(None, Some(PUBLIC.as_bytes())).unwrap();
        assert!(only_eddsa.player(&hs256(&json!({"sub": "ana"}))).is_err());
        let only_hs256 = TokenKeys::new(Some(SECRET), None).unwrap();
        assert!(only_hs256.player(&eddsa(&json!({"sub": "ana"}))).is_err());
        assert!(TokenKeys::new(None, None).is_err());
        assert!(TokenKeys::new(Some(b""), None).is_err());
        assert!(TokenKeys::new(None, Some(b"no key")).is_err());
        assert!(TokenKeys::new(None, Some(PRIVATE.as_bytes())).is_err());
    }
}
