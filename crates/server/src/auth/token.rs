//! One token against the configured keys and expectations.

use serde_json::{Map, Value};

use super::{Allowed, Identity, Key};
use crate::config::Algorithm;

/// Longest token, in bytes; identity providers stay below it, and the signature check of a longer one is not free.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Keys that a token without `kid` is tried with: each try costs a signature check.
const KEYS_TRIED_MAX: usize = 8;
/// Longest `sub`, in bytes: it becomes part of logs, quotas and conflict records.
const SUBJECT_BYTES_MAX: usize = 512;
/// Latest `exp` that is a plausible number of seconds: the year 9999. A later one is most likely in milliseconds.
const EXPIRY_S_MAX: u64 = 253_402_300_799;

/// Why a token is refused. The texts name no content of the token, so that they may be sent and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token, and anonymous access is not configured.
    #[error("a token is needed")]
    Missing,
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts of base64url with a JSON header.
    #[error("the token is malformed")]
    Malformed,
    /// `alg` is not one that the server has a key for.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The signature does not fit.
    #[error("the token's signature is not valid")]
    Signature,
    /// The header asks for an extension (`crit`).
    #[error("the token requires an extension that the server does not know")]
    Critical,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` is missing, or `exp` or `nbf` is not a number of seconds.
    #[error("the token's `exp` or `nbf` is missing or not a number of seconds")]
    Time,
    /// `iss` is not the configured one.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` names none of the configured ones.
    #[error("the token is for another audience")]
    Audience,
    /// `sub` is missing, empty, too long or not a string.
    #[error("the token's `sub` must be a string of 1 to {SUBJECT_BYTES_MAX} bytes without control characters")]
    Subject,
    /// There is no HS256 secret to sign with.
    #[error("tokens can only be made with an HS256 secret")]
    CannotMint,
}

/// What a token has to claim.
pub(super) struct Expectation {
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
    pub(super) leeway_s: u64,
    pub(super) expiry_required: bool,
}

/// The signature first, the claims after it.
pub(super) fn authenticate(
    token: &str,
    keys: &[Key],
    expectation: &Expectation,
    now_ms: u64,
) -> Result<Identity, AuthError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(AuthError::TooLong);
    }
    let key = check_signature(token, keys)?;
    let claims: Map<String, Value> =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| AuthError::Malformed)?;
    let expires_ms = check_times(&claims, expectation, now_ms)?;
    check_parties(&claims, expectation)?;
    Ok(Identity { subject: subject(&claims)?, claims, key, expires_ms, allowed: Allowed::default() })
}

/// Returns the id of the key that signed the token.
fn check_signature(token: &str, keys: &[Key]) -> Result<u64, AuthError> {
    let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
    if message.matches('.').count() != 1 {
        return Err(AuthError::Malformed);
    }
    let header = token_header(token)?;
    if !keys.iter().any(|key| wire_algorithm(key.algorithm) == header.alg) {
        return Err(AuthError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(AuthError::Critical);
    }
    // A key without a name serves tokens with any; a token without one is tried with a few keys.
    let fits = |key: &&Key| {
        wire_algorithm(key.algorithm) == header.alg
            && (key.name.is_none() || header.kid.is_none() || key.name == header.kid)
    };
    let signed = |key: &&Key| {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.verifier, header.alg).is_ok_and(|valid| valid)
    };
    let mut tried = keys.iter().filter(fits).take(KEYS_TRIED_MAX);
    tried.find(signed).map(|key| key.id).ok_or(AuthError::Signature)
}

/// A header with an algorithm that the library does not know (`none` among them) is not told from a malformed one.
fn token_header(token: &str) -> Result<jsonwebtoken::Header, AuthError> {
    jsonwebtoken::decode_header(token).map_err(|_| AuthError::Malformed)
}

fn wire_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    }
}

/// `exp` and `nbf` (RFC 7519 sections 4.1.4 and 4.1.5). Returns when the identity ends, in milliseconds.
fn check_times(claims: &Map<String, Value>, expectation: &Expectation, now_ms: u64) -> Result<Option<u64>, AuthError> {
    let leeway_ms = expectation.leeway_s.saturating_mul(1000);
    if let Some(not_before_ms) = numeric_date_ms(claims, "nbf")?
        && now_ms.saturating_add(leeway_ms) < not_before_ms
    {
        return Err(AuthError::NotYetValid);
    }
    let Some(expires_ms) = numeric_date_ms(claims, "exp")? else {
        return if expectation.expiry_required { Err(AuthError::Time) } else { Ok(None) };
    };
    let expires_ms = expires_ms.saturating_add(leeway_ms);
    if now_ms >= expires_ms { Err(AuthError::Expired) } else { Ok(Some(expires_ms)) }
}

/// A `NumericDate` (RFC 7519 section 2): a JSON number of seconds, with or without a fraction. Anything else that is present is refused.
fn numeric_date_ms(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, AuthError> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let seconds = claim.as_u64().or_else(|| claim.as_f64().and_then(whole_seconds)).ok_or(AuthError::Time)?;
    if seconds > EXPIRY_S_MAX {
        return Err(AuthError::Time);
    }
    Ok(Some(seconds.saturating_mul(1000)))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked; a fraction is cut")]
fn whole_seconds(seconds: f64) -> Option<u64> {
    (0.0..=253_402_300_799.0).contains(&seconds).then_some(seconds as u64)
}

fn check_parties(claims: &Map<String, Value>, expectation: &Expectation) -> Result<(), AuthError> {
    let is = |claim: Option<&Value>, wanted: &str| claim.and_then(Value::as_str) == Some(wanted);
    if let Some(issuer) = &expectation.issuer
        && !is(claims.get("iss"), issuer)
    {
        return Err(AuthError::Issuer);
    }
    if expectation.audience.is_empty() {
        return Ok(());
    }
    let claim = claims.get("aud");
    let named = |wanted: &String| match claim {
        Some(Value::Array(several)) => several.iter().any(|one| is(Some(one), wanted)),
        one => is(one, wanted),
    };
    if expectation.audience.iter().any(named) { Ok(()) } else { Err(AuthError::Audience) }
}

fn subject(claims: &Map<String, Value>) -> Result<String, AuthError> {
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(AuthError::Subject)?;
    let fits = !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX && !subject.chars().any(char::is_control);
    if fits { Ok(subject.to_owned()) } else { Err(AuthError::Subject) }
}
