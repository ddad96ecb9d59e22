//! `[auth]`: how tokens are checked.

use super::Mode;
use super::error::Location;
use super::reader::{Found, Section, one_of, suggestion};
use super::secret::Secret;

/// Clock difference between the issuer and the server that is forgiven without `auth.leeway_s`, in seconds.
const LEEWAY_S_DEFAULT: u32 = 30;
/// The largest `auth.leeway_s`, in seconds.
const LEEWAY_S_MAX: u32 = 600;

/// A signature algorithm that a configuration may allow (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: who checks tokens can also make them.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA (PKCS #1 v1.5) with SHA-256, keys of 2048 bits or more.
    Rs256,
}

impl Algorithm {
    /// Every algorithm with the name that tokens and configurations use.
    pub const ALL: &'static [(&'static str, Algorithm)] = &[
        ("HS256", Algorithm::Hs256),
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
        ("RS256", Algorithm::Rs256),
    ];
}

/// How tokens are checked. Each algorithm is allowed by the key it needs being present.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// For HS256.
    pub secret: Option<Secret>,
    /// For one of the other algorithms.
    pub public_key: Option<PublicKey>,
    /// Public keys by name, for any of the other algorithms.
    pub key_set: Option<KeySet>,
    /// When set, `iss` is required and equal.
    pub issuer: Option<String>,
    /// When not empty, `aud` is required and names one of these.
    pub audience: Vec<String>,
    /// Clock difference that is forgiven, in seconds.
    pub leeway_s: u32,
    /// Accept tokens without `exp`: such a session never ends by itself.
    pub allow_no_expiry: bool,
    /// A client without a token is the identity with an empty subject and no claims.
    pub anonymous: bool,
}

/// A public key and the one algorithm that it is for.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Any but `Hs256`.
    pub algorithm: Algorithm,
    /// PEM text (`BEGIN PUBLIC KEY`).
    pub pem: String,
    /// Where the configuration has or names it.
    pub location: Location,
}

/// A JSON Web Key Set (RFC 7517) and the algorithms that its keys may serve.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// Each key is for one of these.
    pub algorithms: Vec<Algorithm>,
    /// JSON text.
    pub text: String,
    /// Where the configuration names it.
    pub location: Location,
}

pub(super) fn read(section: &Section<'_, '_>, mode: Mode) -> AuthConfig {
    let algorithms = algorithms(section);
    let secret = text_or_file(section, "secret", "secret_file");
    let public_key = text_or_file(section, "public_key", "public_key_file");
    let key_set = file(section, "jwks_file");
    let config = AuthConfig {
        key_set: key_set.map(|found| KeySet {
            algorithms: algorithms.iter().copied().filter(|algorithm| *algorithm != Algorithm::Hs256).collect(),
            text: found.value,
            location: found.location,
        }),
        secret: secret.and_then(|found| checked_secret(section, &algorithms, found)),
        public_key: public_key.and_then(|found| checked_public_key(section, &algorithms, found)),
        issuer: section.string("issuer", "the `iss` that tokens carry (a string)").map(|found| found.value),
        audience: audience(section),
        leeway_s: section.integer("leeway_s", "seconds", 0..=LEEWAY_S_MAX, LEEWAY_S_DEFAULT),
        allow_no_expiry: section.boolean("allow_no_expiry", false),
        anonymous: section.boolean("anonymous", false),
    };
    section.finish();
    if !section.present() {
        return absent(section, mode, config);
    }
    require_keys(section, &algorithms);
    config
}

/// Without `[auth]`, `dev` signs its own tokens; production does not start.
fn absent(section: &Section<'_, '_>, mode: Mode, config: AuthConfig) -> AuthConfig {
    if mode == Mode::Production {
        let message = "expected [auth] with `algorithms` and a key: the server accepts no unsigned tokens";
        section.source().problem(section.location(), message);
        return config;
    }
    match Secret::random() {
        Ok(secret) => AuthConfig { secret: Some(secret), ..config },
        Err(error) => {
            section
                .source()
                .problem(section.location(), format!("no random secret from the operating system: {error}"));
            config
        }
    }
}

fn algorithms(section: &Section<'_, '_>) -> Vec<Algorithm> {
    let words: Vec<&str> = Algorithm::ALL.iter().map(|(name, _)| *name).collect();
    let expected = one_of(&words);
    let mut algorithms = Vec::new();
    for found in section.strings("algorithms", &format!("a list of {expected}")).unwrap_or_default() {
        if let Some((_, algorithm)) = Algorithm::ALL.iter().find(|(name, _)| *name == found.value) {
            algorithms.push(*algorithm);
            continue;
        }
        let hint = suggestion(&found.value, &words);
        let message = format!("found the string {:?}; expected {expected}{hint}", found.value);
        section.source().problem(found.location, message);
    }
    algorithms
}

/// A value given in the configuration itself or in a file that it names.
pub(super) fn text_or_file(
    section: &Section<'_, '_>,
    text: &'static str,
    named: &'static str,
) -> Option<Found<String>> {
    let inline = section.secret(text);
    let Some(location) = section.raw(named).map(|found| found.location) else { return inline };
    if inline.is_some() {
        section.source().problem(location, format!("found both `{text}` and `{named}`; expected one of them"));
        return None;
    }
    file(section, named)
}

/// The content of a file that the configuration names, without the line end after it.
fn file(section: &Section<'_, '_>, name: &'static str) -> Option<Found<String>> {
    let named = section.string(name, "the path of a file")?;
    let path = section.source().resolve(&named.value);
    match std::fs::read_to_string(&path) {
        Ok(content) => {
            let value = content.trim_end_matches(['\r', '\n']).to_owned();
            Some(Found { value, location: named.location })
        }
        Err(error) => {
            section.source().problem(named.location, format!("{} cannot be read: {error}", path.display()));
            None
        }
    }
}

fn checked_secret(section: &Section<'_, '_>, algorithms: &[Algorithm], found: Found<String>) -> Option<Secret> {
    if !algorithms.contains(&Algorithm::Hs256) {
        section.source().problem(found.location, "found a secret, but `algorithms` does not name `HS256`");
        return None;
    }
    let secret = Secret::new(found.value);
    if let Some(weakness) = secret.weakness() {
        section.source().problem(found.location, weakness);
        return None;
    }
    Some(secret)
}

fn checked_public_key(section: &Section<'_, '_>, algorithms: &[Algorithm], found: Found<String>) -> Option<PublicKey> {
    let mut fitting = algorithms.iter().filter(|algorithm| **algorithm != Algorithm::Hs256);
    let (Some(algorithm), None) = (fitting.next(), fitting.next()) else {
        let message = "a public key is for one algorithm; expected `algorithms` to name `ES256`, `EdDSA` or `RS256`";
        section.source().problem(found.location, message);
        return None;
    };
    Some(PublicKey { algorithm: *algorithm, pem: found.value, location: found.location })
}

fn audience(section: &Section<'_, '_>) -> Vec<String> {
    let expected = "a list of the `aud` that tokens may carry";
    section.strings("audience", expected).unwrap_or_default().into_iter().map(|found| found.value).collect()
}

fn require_keys(section: &Section<'_, '_>, algorithms: &[Algorithm]) {
    let given = |names: [&'static str; 2]| names.into_iter().any(|name| section.raw(name).is_some());
    if section.raw("algorithms").is_none_or(|found| found.value.as_array().is_some_and(|array| array.is_empty())) {
        section.source().problem(section.location(), "expected `algorithms`, like `algorithms = [\"ES256\"]`");
    }
    if algorithms.contains(&Algorithm::Hs256) && !given(["secret", "secret_file"]) {
        section.source().problem(section.location(), "`HS256` needs `secret` or `secret_file`");
    }
    let asymmetric = algorithms.iter().any(|algorithm| *algorithm != Algorithm::Hs256);
    if asymmetric && !given(["public_key", "public_key_file"]) && section.raw("jwks_file").is_none() {
        let message = "`ES256`, `EdDSA` and `RS256` need `public_key`, `public_key_file` or `jwks_file`";
        section.source().problem(section.location(), message);
    }
}
