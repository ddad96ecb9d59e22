//! Public keys of a JSON Web Key Set (RFC 7517): issuers that rotate their keys publish several, each with a name.
//!
//! The set is a file, which is read with the configuration. The server fetches nothing: a token with a key's name that it does not know
//! is refused and costs nothing more.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};

use super::Key;
use crate::config::{Algorithm, ConfigError, KeySet};

/// Most keys of a set.
const KEYS_MAX: usize = 100;
/// Characters of the base64url of an RSA modulus of 2048 to 8192 bits.
const MODULUS_CHARACTERS: std::ops::RangeInclusive<usize> = 342..=1_368;
/// The one exponent in use, 65537.
const EXPONENT: &str = "AQAB";

/// The keys of a set that the configured algorithms can use; at least one. Keys for encryption and of other kinds are left out, as
/// issuers publish those beside the others.
pub(super) fn keys(set: &KeySet) -> Result<Vec<Key>, ConfigError> {
    let refuse = |message: String| ConfigError::new(set.location.clone(), message);
    let parsed: JwkSet =
        serde_json::from_str(&set.text).map_err(|error| refuse(format!("not a JSON Web Key Set: {error}")))?;
    if parsed.keys.len() > KEYS_MAX {
        return Err(refuse(format!("found {} keys; expected at most {KEYS_MAX}", parsed.keys.len())));
    }
    let keys: Vec<Key> = parsed.keys.iter().filter_map(|jwk| key(jwk, &set.algorithms)).collect();
    if keys.is_empty() {
        return Err(refuse("found no key for any of `algorithms`".to_owned()));
    }
    Ok(keys)
}

/// A key for one of the algorithms, which its kind decides: a set cannot make an RSA key an HMAC secret.
fn key(jwk: &Jwk, algorithms: &[Algorithm]) -> Option<Key> {
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is non-exhaustive; what is not known here is no key of ours"
    )]
    let (algorithm, material) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::Es256, [key.x.as_str(), key.y.as_str()])
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDsa, [key.x.as_str(), ""])
        }
        AlgorithmParameters::RSA(key) if MODULUS_CHARACTERS.contains(&key.n.len()) && key.e == EXPONENT => {
            (Algorithm::Rs256, [key.n.as_str(), key.e.as_str()])
        }
        _ => return None,
    };
    if !signs || !algorithms.contains(&algorithm) {
        return None;
    }
    let verifier = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key::new(algorithm, jwk.common.key_id.clone(), material.join(".").as_bytes(), verifier))
}
