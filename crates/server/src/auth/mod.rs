//! Who a client is: JSON Web Tokens (RFC 7519), checked by keys that the configuration fixes.
//!
//! A token never chooses how it is checked: its `alg` must be one that the configuration has a key for, and each key serves one
//! algorithm. Nothing in a token is believed, or quoted in an error, before its signature is checked.

mod allowed;
mod jwks;
#[cfg(test)]
mod tests;
mod token;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::ops::RangeInclusive;

use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Map, Value};

use crate::config::{Algorithm, AuthConfig, ConfigError, PublicKey};

pub use allowed::Allowed;
pub use token::{AuthError, TOKEN_BYTES_MAX};

/// Bytes of the DER form of an RSA public key of 2048 to 8192 bits: shorter ones are weak, longer ones cost too much to check.
const RSA_DER_BYTES: RangeInclusive<usize> = 266..=1_100;

/// An authenticated user or service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The token's `sub`; empty for a client without a token.
    pub subject: String,
    /// Every claim of the token, as rules see them.
    pub claims: Map<String, Value>,
    /// Which key signed the token; 0 for a client without a token.
    pub key: u64,
    /// When the identity ends, in milliseconds since 1970, clock leeway included; `None` when the token has no `exp`.
    pub expires_ms: Option<u64>,
    /// Rules that are known to allow it.
    pub allowed: Allowed,
}

impl Identity {
    /// Whether the identity has ended at `now_ms`. A live session of an expired identity must be closed.
    pub fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms)
    }
}

/// One key, for one algorithm.
pub(crate) struct Key {
    /// What sessions remember of the key that signed their token: the same for the same key in every configuration.
    id: u64,
    algorithm: Algorithm,
    /// The name that tokens give it, when it has one.
    name: Option<String>,
    verifier: DecodingKey,
}

impl Key {
    fn new(algorithm: Algorithm, name: Option<String>, material: &[u8], verifier: DecodingKey) -> Self {
        let mut hasher = DefaultHasher::new();
        (algorithm as u8, material).hash(&mut hasher);
        Self { id: hasher.finish().max(1), algorithm, name, verifier }
    }
}

/// Checks tokens.
pub struct Authenticator {
    keys: Vec<Key>,
    /// For [`Authenticator::mint`].
    signing_key: Option<EncodingKey>,
    expectation: token::Expectation,
    anonymous: bool,
}

impl Authenticator {
    /// Prepares the keys; a key that does not fit its algorithm is an error.
    pub fn new(config: &AuthConfig) -> Result<Self, ConfigError> {
        let mut keys = Vec::new();
        if let Some(secret) = &config.secret {
            let key = DecodingKey::from_secret(secret.expose());
            keys.push(Key::new(Algorithm::Hs256, None, secret.expose(), key));
        }
        if let Some(public_key) = &config.public_key {
            let key = decoding_key(public_key)?;
            keys.push(Key::new(public_key.algorithm, None, public_key.pem.trim().as_bytes(), key));
        }
        if let Some(key_set) = &config.key_set {
            keys.extend(jwks::keys(key_set)?);
        }
        Ok(Self {
            keys,
            signing_key: config.secret.as_ref().map(|secret| EncodingKey::from_secret(secret.expose())),
            expectation: token::Expectation {
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                leeway_s: u64::from(config.leeway_s),
                expiry_required: !config.allow_no_expiry,
            },
            anonymous: config.anonymous,
        })
    }

    /// The identity of a token at `now_ms` (milliseconds since 1970). An empty token is the anonymous identity, where that is allowed.
    pub fn authenticate(&self, token: &str, now_ms: u64) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return if self.anonymous { Ok(Identity::default()) } else { Err(AuthError::Missing) };
        }
        token::authenticate(token, &self.keys, &self.expectation, now_ms)
    }

    /// Whether a session of this identity may go on: the key that signed its token is still there, or anonymous access is allowed.
    pub(crate) fn still_accepts(&self, identity: &Identity) -> bool {
        if identity.key == 0 { self.anonymous } else { self.keys.iter().any(|key| key.id == identity.key) }
    }

    /// Signs a token for `tidelock dev` and tests, with the configured HS256 secret. It expires `ttl_s` seconds after `now_ms`.
    /// The registered claims among `claims` are replaced where the configuration fixes them.
    pub fn mint(
        &self,
        subject: &str,
        claims: &Map<String, Value>,
        ttl_s: u64,
        now_ms: u64,
    ) -> Result<String, AuthError> {
        let key = self.signing_key.as_ref().ok_or(AuthError::CannotMint)?;
        if subject.is_empty() {
            return Err(AuthError::Subject);
        }
        let mut all = claims.clone();
        all.insert("sub".to_owned(), subject.into());
        all.insert("exp".to_owned(), (now_ms / 1000).saturating_add(ttl_s).into());
        if let Some(issuer) = &self.expectation.issuer {
            all.insert("iss".to_owned(), issuer.as_str().into());
        }
        if let Some(audience) = self.expectation.audience.first() {
            all.insert("aud".to_owned(), audience.as_str().into());
        }
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        jsonwebtoken::encode(&header, &all, key).map_err(|_| AuthError::CannotMint)
    }
}

/// Parses a public key and makes sure that it is one for its algorithm.
fn decoding_key(public_key: &PublicKey) -> Result<DecodingKey, ConfigError> {
    let refuse = |message: String| ConfigError::new(public_key.location.clone(), message);
    let (name, expected, bytes) = match public_key.algorithm {
        Algorithm::EdDsa => ("EdDSA", "on Ed25519", 32..=32),
        Algorithm::Es256 => ("ES256", "on P-256", 65..=65),
        Algorithm::Rs256 => ("RS256", "of 2048 to 8192 bits", RSA_DER_BYTES),
        Algorithm::Hs256 => return Err(refuse("HS256 takes a secret, not a public key".to_owned())),
    };
    if public_key.pem.contains("PRIVATE KEY") {
        let message = "found a private key; expected the public key alone (`openssl pkey -in key.pem -pubout`)";
        return Err(refuse(message.to_owned()));
    }
    let pem = public_key.pem.as_bytes();
    let key = match public_key.algorithm {
        Algorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
        Algorithm::Es256 | Algorithm::Hs256 => DecodingKey::from_ec_pem(pem),
    };
    let fits = |key: &DecodingKey| key.try_get_as_bytes().is_ok_and(|found| bytes.contains(&found.len()));
    match key {
        Ok(key) if fits(&key) => Ok(key),
        _ => Err(refuse(format!("not a public key for {name}; expected PEM (`BEGIN PUBLIC KEY`) of a key {expected}"))),
    }
}
