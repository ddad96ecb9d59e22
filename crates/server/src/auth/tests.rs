//! Tokens, line by line of what an attacker or a careless issuer may send. The keys below `testdata` exist for these tests alone.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::{AuthError, Authenticator, Identity, TOKEN_BYTES_MAX};
use crate::config::{Algorithm, AuthConfig, KeySet, Location, PublicKey, Secret};

const NOW_MS: u64 = 1_800_000_000_000;
const NOW_S: u64 = NOW_MS / 1000;
const SECRET: &str = "b1c5a7f09e3d48216bd0e1c2f3a49586";
const ES256: &str = include_str!("testdata/es256.pem");
const ES256_PUBLIC: &str = include_str!("testdata/es256.pub.pem");
const EDDSA: &str = include_str!("testdata/eddsa.pem");
const EDDSA_PUBLIC: &str = include_str!("testdata/eddsa.pub.pem");
const RS256: &str = include_str!("testdata/rsa.pem");
const RS256_PUBLIC: &str = include_str!("testdata/rsa.pub.pem");
const RSA1024_PUBLIC: &str = include_str!("testdata/rsa1024.pub.pem");
const P384_PUBLIC: &str = include_str!("testdata/p384.pub.pem");

fn hs256() -> AuthConfig {
    AuthConfig { secret: Some(Secret::new(SECRET)), leeway_s: 30, ..AuthConfig::default() }
}

fn public_key(algorithm: Algorithm, pem: &str) -> AuthConfig {
    let location = Location { file: "t.toml".to_owned(), line: 3, column: 7, key: "auth.public_key".to_owned() };
    let public_key = PublicKey { algorithm, pem: pem.to_owned(), location };
    AuthConfig { public_key: Some(public_key), leeway_s: 30, ..AuthConfig::default() }
}

fn sign(algorithm: jsonwebtoken::Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("the key fits")
}

fn hs(claims: &Value) -> String {
    sign(jsonwebtoken::Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn check(config: &AuthConfig, token: &str) -> Result<Identity, AuthError> {
    Authenticator::new(config).expect("a good configuration").authenticate(token, NOW_MS)
}

fn good() -> Value {
    json!({"sub": "ann", "exp": NOW_S + 60, "role": "editor"})
}

/// Good claims with some replaced; null removes one.
fn with(changes: &Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

#[test]
fn each_algorithm_gives_the_identity() {
    let es256 = EncodingKey::from_ec_pem(ES256.as_bytes()).expect("PEM");
    let eddsa = EncodingKey::from_ed_pem(EDDSA.as_bytes()).expect("PEM");
    let rs256 = EncodingKey::from_rsa_pem(RS256.as_bytes()).expect("PEM");
    let cases = [
        (hs256(), hs(&good())),
        (public_key(Algorithm::Es256, ES256_PUBLIC), sign(jsonwebtoken::Algorithm::ES256, &es256, &good())),
        (public_key(Algorithm::EdDsa, EDDSA_PUBLIC), sign(jsonwebtoken::Algorithm::EdDSA, &eddsa, &good())),
        (public_key(Algorithm::Rs256, RS256_PUBLIC), sign(jsonwebtoken::Algorithm::RS256, &rs256, &good())),
    ];
    for (index, (config, token)) in cases.iter().enumerate() {
        let identity = check(config, token).expect("a good token");
        assert_eq!(identity.subject, "ann");
        assert_eq!(identity.claims["role"], "editor");
        assert_eq!(identity.expires_ms, Some(NOW_MS + 90_000), "the leeway is part of it");
        for (other, (_, foreign)) in cases.iter().enumerate() {
            if other != index {
                assert_eq!(check(config, foreign), Err(AuthError::Algorithm), "configuration {index}, token {other}");
            }
        }
    }
}

#[test]
fn unsigned_and_confused_tokens_are_refused() {
    let claims = encode_part(&good().to_string());
    let unsigned = |alg: &str| format!("{}.{claims}.", encode_part(&format!("{{\"alg\":\"{alg}\"}}")));
    for alg in ["none", "None", "NONE", ""] {
        assert_eq!(check(&hs256(), &unsigned(alg)), Err(AuthError::Malformed), "{alg}");
    }
    assert_eq!(check(&hs256(), &unsigned("HS256")), Err(AuthError::Signature));
    assert_eq!(check(&hs256(), &unsigned("HS512")), Err(AuthError::Algorithm));
    // The public key, known to everyone, as an HMAC secret.
    let public = EncodingKey::from_secret(ES256_PUBLIC.as_bytes());
    let confused = sign(jsonwebtoken::Algorithm::HS256, &public, &good());
    assert_eq!(check(&public_key(Algorithm::Es256, ES256_PUBLIC), &confused), Err(AuthError::Algorithm));
    let mut both = public_key(Algorithm::Es256, ES256_PUBLIC);
    both.secret = Some(Secret::new(SECRET));
    assert_eq!(check(&both, &confused), Err(AuthError::Signature));
    // A key that the token itself brings, and ones that it points to, are not looked at.
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("../../dev/null".to_owned());
    header.jku = Some("http://127.0.0.1/keys".to_owned());
    let own = jsonwebtoken::encode(&header, &good(), &EncodingKey::from_secret(b"mine")).expect("signs");
    assert_eq!(check(&hs256(), &own), Err(AuthError::Signature));
}

#[test]
fn extensions_that_must_be_understood_are_refused() {
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.crit = Some(vec!["b64".to_owned()]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&header, &good(), &key).expect("signs");
    assert_eq!(check(&hs256(), &token), Err(AuthError::Critical));
}

#[test]
fn changed_tokens_are_refused() {
    let token = hs(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let eve = encode_part(&with(&json!({"sub": "eve"})).to_string());
    assert_eq!(check(&hs256(), &format!("{}.{eve}.{}", parts[0], parts[2])), Err(AuthError::Signature));
    let other =
        sign(jsonwebtoken::Algorithm::HS256, &EncodingKey::from_secret(b"another secret of thirty-two bytes"), &good());
    assert_eq!(check(&hs256(), &other), Err(AuthError::Signature));
    for malformed in [
        "x",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        " ",
        "\0",
        "é.é.é",
        &format!("{token}.x"),
        &format!(" {token}"),
    ] {
        assert_eq!(check(&hs256(), malformed), Err(AuthError::Malformed), "{malformed:?}");
    }
    // A truncated or padded signature never passes.
    for end in 0..parts[2].len() {
        let cut = format!("{}.{}.{}", parts[0], parts[1], &parts[2][..end]);
        assert_eq!(check(&hs256(), &cut), Err(AuthError::Signature), "{end}");
    }
    assert_eq!(check(&hs256(), &format!("{token}=")), Err(AuthError::Signature));
}

#[test]
fn claims_must_be_an_object() {
    for claims in [json!([]), json!("ann"), json!(null), json!(1)] {
        assert_eq!(check(&hs256(), &hs(&claims)), Err(AuthError::Malformed), "{claims}");
    }
}

#[test]
fn times_are_numbers_of_seconds() {
    let table = [
        (json!({"exp": NOW_S}), Ok(())),
        (json!({"exp": NOW_S - 29}), Ok(())),
        (json!({"exp": NOW_S - 30}), Err(AuthError::Expired)),
        (json!({"exp": 0}), Err(AuthError::Expired)),
        (json!({"exp": 1.5}), Err(AuthError::Expired)),
        (json!({"exp": null}), Err(AuthError::Time)),
        (json!({"exp": (NOW_S + 60).to_string()}), Err(AuthError::Time)),
        (json!({"exp": "never"}), Err(AuthError::Time)),
        (json!({"exp": -1}), Err(AuthError::Time)),
        (json!({"exp": [NOW_S + 60]}), Err(AuthError::Time)),
        (json!({"exp": true}), Err(AuthError::Time)),
        (json!({"exp": NOW_MS}), Err(AuthError::Time)),
        (json!({"exp": 1e300}), Err(AuthError::Time)),
        (json!({"exp": u64::MAX}), Err(AuthError::Time)),
        (json!({"nbf": NOW_S + 30}), Ok(())),
        (json!({"nbf": NOW_S + 31}), Err(AuthError::NotYetValid)),
        (json!({"nbf": (NOW_S - 60).to_string()}), Err(AuthError::Time)),
        (json!({"nbf": {}}), Err(AuthError::Time)),
    ];
    for (changes, expected) in table {
        assert_eq!(check(&hs256(), &hs(&with(&changes))).map(drop), expected, "{changes}");
    }
    // A null that is present is not an absent claim.
    let null = json!({"sub": "ann", "exp": null});
    assert_eq!(check(&AuthConfig { allow_no_expiry: true, ..hs256() }, &hs(&null)), Err(AuthError::Time));
}

#[test]
fn a_token_without_expiry_needs_the_configuration() {
    let token = hs(&with(&json!({"exp": null})));
    assert_eq!(check(&hs256(), &token), Err(AuthError::Time));
    let identity = check(&AuthConfig { allow_no_expiry: true, ..hs256() }, &token).expect("allowed");
    assert_eq!(identity.expires_ms, None);
    assert!(!identity.expired(u64::MAX));
}

#[test]
fn an_identity_ends_at_its_time() {
    let identity = check(&hs256(), &hs(&good())).expect("a good token");
    assert!(!identity.expired(NOW_MS + 89_999));
    assert!(identity.expired(NOW_MS + 90_000));
}

#[test]
fn issuer_and_audience_are_compared_when_configured() {
    let config = AuthConfig {
        issuer: Some("https://id.example.com".to_owned()),
        audience: vec!["board".to_owned(), "other".to_owned()],
        ..hs256()
    };
    let issuer = "https://id.example.com";
    let table = [
        (json!({"iss": issuer, "aud": "board"}), Ok(())),
        (json!({"iss": issuer, "aud": ["x", "other"]}), Ok(())),
        (json!({"iss": issuer}), Err(AuthError::Audience)),
        (json!({"iss": issuer, "aud": []}), Err(AuthError::Audience)),
        (json!({"iss": issuer, "aud": "boards"}), Err(AuthError::Audience)),
        (json!({"iss": issuer, "aud": "BOARD"}), Err(AuthError::Audience)),
        (json!({"iss": issuer, "aud": {"board": true}}), Err(AuthError::Audience)),
        (json!({"aud": "board"}), Err(AuthError::Issuer)),
        (json!({"iss": "https://id.example.com.evil", "aud": "board"}), Err(AuthError::Issuer)),
        (json!({"iss": "https://id.example.com/", "aud": "board"}), Err(AuthError::Issuer)),
        (json!({"iss": [issuer], "aud": "board"}), Err(AuthError::Issuer)),
    ];
    for (changes, expected) in table {
        assert_eq!(check(&config, &hs(&with(&changes))).map(drop), expected, "{changes}");
    }
}

#[test]
fn a_subject_is_a_plain_text() {
    for subject in
        [json!(null), json!(""), json!(7), json!(["ann"]), json!("a\nb"), json!("\u{0}"), json!("x".repeat(513))]
    {
        assert_eq!(check(&hs256(), &hs(&with(&json!({"sub": subject})))), Err(AuthError::Subject), "{subject}");
    }
    for subject in ["ann", "auth0|42", "Ann Ünïcode", &"x".repeat(512)] {
        assert_eq!(check(&hs256(), &hs(&with(&json!({"sub": subject})))).expect("fits").subject, *subject);
    }
}

#[test]
fn long_tokens_are_refused_before_they_cost_anything() {
    let token = hs(&with(&json!({"pad": "x".repeat(TOKEN_BYTES_MAX)})));
    assert_eq!(check(&hs256(), &token), Err(AuthError::TooLong));
    assert_eq!(check(&hs256(), &"x".repeat(TOKEN_BYTES_MAX + 1)), Err(AuthError::TooLong));
}

#[test]
fn no_token_is_the_anonymous_identity_where_allowed() {
    assert_eq!(check(&hs256(), ""), Err(AuthError::Missing));
    let config = AuthConfig { anonymous: true, ..hs256() };
    assert_eq!(check(&config, ""), Ok(Identity::default()));
    assert_eq!(check(&config, "x"), Err(AuthError::Malformed), "a bad token is not no token");
}

#[test]
fn minted_tokens_are_accepted_and_expire() {
    let config = AuthConfig { issuer: Some("me".to_owned()), audience: vec!["board".to_owned()], ..hs256() };
    let authenticator = Authenticator::new(&config).expect("a good configuration");
    let claims: Map<String, Value> =
        [("role".to_owned(), json!("editor")), ("sub".to_owned(), json!("root")), ("exp".to_owned(), json!("never"))]
            .into_iter()
            .collect();
    let token = authenticator.mint("ann", &claims, 60, NOW_MS).expect("has a secret");
    let identity = authenticator.authenticate(&token, NOW_MS).expect("its own token");
    assert_eq!((identity.subject.as_str(), &identity.claims["role"]), ("ann", &json!("editor")));
    assert_eq!(authenticator.authenticate(&token, NOW_MS + 90_000), Err(AuthError::Expired));
    assert_eq!(authenticator.mint("", &claims, 60, NOW_MS), Err(AuthError::Subject));
    let es256 = Authenticator::new(&public_key(Algorithm::Es256, ES256_PUBLIC)).expect("a good key");
    assert_eq!(es256.mint("ann", &claims, 60, NOW_MS), Err(AuthError::CannotMint));
}

#[test]
fn keys_that_do_not_fit_are_refused_at_start() {
    let table = [
        (Algorithm::Es256, EDDSA_PUBLIC, "not a public key for ES256"),
        (Algorithm::EdDsa, ES256_PUBLIC, "not a public key for EdDSA"),
        (Algorithm::Es256, P384_PUBLIC, "not a public key for ES256"),
        (Algorithm::Es256, ES256, "found a private key"),
        (Algorithm::EdDsa, EDDSA, "found a private key"),
        (Algorithm::Es256, "", "not a public key for ES256"),
        (
            Algorithm::Es256,
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "not a public key for ES256",
        ),
    ];
    for (algorithm, pem, expected) in table {
        let Err(error) = Authenticator::new(&public_key(algorithm, pem)) else { panic!("accepted {pem}") };
        let error = error.to_string();
        assert!(error.starts_with("t.toml:3:7: auth.public_key: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn errors_do_not_quote_the_token() {
    let canary = encode_part("{\"alg\":\"canary\"}");
    for token in [
        format!("{canary}.canary.canary"),
        hs(&with(&json!({"sub": "canary\n"}))),
        hs(&with(&json!({"exp": "canary"}))),
    ] {
        let error = check(&hs256(), &token).expect_err("bad");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    assert!(!format!("{:?}", hs256()).contains(SECRET));
}

/// Base64url without padding (RFC 4648 section 5).
fn encode_part(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(ALPHABET[(bits & 63) as usize]);
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let group = chunk.iter().fold(0, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        encoded.extend((0..=chunk.len()).map(|index| digit(group >> (18 - 6 * index))));
    }
    encoded
}

/// A set with the named keys, each as the public half of the test keys.
fn key_set(names: &[(&str, Algorithm)]) -> AuthConfig {
    let jwk = |(name, algorithm): &(&str, Algorithm)| {
        let (wire, key) = match algorithm {
            Algorithm::Es256 => (jsonwebtoken::Algorithm::ES256, EncodingKey::from_ec_pem(ES256.as_bytes())),
            Algorithm::EdDsa => (jsonwebtoken::Algorithm::EdDSA, EncodingKey::from_ed_pem(EDDSA.as_bytes())),
            Algorithm::Rs256 => (jsonwebtoken::Algorithm::RS256, EncodingKey::from_rsa_pem(RS256.as_bytes())),
            Algorithm::Hs256 => panic!("a secret is not published"),
        };
        let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key.expect("PEM"), wire).expect("a public half");
        jwk.common.key_id = Some((*name).to_owned());
        serde_json::to_value(jwk).expect("JSON")
    };
    set_of(&json!({ "keys": names.iter().map(jwk).collect::<Vec<_>>() }))
}

fn set_of(keys: &Value) -> AuthConfig {
    let location = Location { file: "t.toml".to_owned(), line: 3, column: 7, key: "auth.jwks_file".to_owned() };
    let algorithms = vec![Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
    AuthConfig { key_set: Some(KeySet { algorithms, text: keys.to_string(), location }), ..AuthConfig::default() }
}

fn named(algorithm: jsonwebtoken::Algorithm, name: Option<&str>, key: &EncodingKey) -> String {
    let header = Header { kid: name.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &good(), key).expect("the key fits")
}

#[test]
fn a_key_set_knows_its_keys_by_name() {
    let es256 = EncodingKey::from_ec_pem(ES256.as_bytes()).expect("PEM");
    let rs256 = EncodingKey::from_rsa_pem(RS256.as_bytes()).expect("PEM");
    let both = key_set(&[("old", Algorithm::Es256), ("new", Algorithm::Rs256)]);
    let old = named(jsonwebtoken::Algorithm::ES256, Some("old"), &es256);
    let identity = check(&both, &old).expect("a good token");
    assert_eq!(
        check(&both, &named(jsonwebtoken::Algorithm::RS256, Some("new"), &rs256)).map(|who| who.subject),
        Ok("ann".into())
    );
    assert!(
        check(&both, &named(jsonwebtoken::Algorithm::RS256, None, &rs256)).is_ok(),
        "a token may leave the name out"
    );
    for name in ["new", "unknown"] {
        let token = named(jsonwebtoken::Algorithm::ES256, Some(name), &es256);
        assert_eq!(check(&both, &token), Err(AuthError::Signature), "the name {name} is another key's or nobody's");
    }
    // Rotation: the old key goes, and with it the sessions of its tokens.
    let rotated = key_set(&[("new", Algorithm::Rs256)]);
    assert_eq!(check(&rotated, &old), Err(AuthError::Algorithm));
    let (before, after) = (Authenticator::new(&both).expect("good"), Authenticator::new(&rotated).expect("good"));
    assert!(before.still_accepts(&identity) && !after.still_accepts(&identity));
}

#[test]
fn a_key_set_cannot_bring_secrets_and_weak_keys() {
    let secret = json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U", "alg": "HS256"});
    let weak = json!({"kty": "RSA", "n": "A".repeat(171), "e": "AQAB"});
    let other = json!({"kty": "EC", "crv": "P-384", "x": "A".repeat(64), "y": "A".repeat(64)});
    for keys in [json!({"keys": []}), json!({"keys": [secret]}), json!({"keys": [weak]}), json!({"keys": [other]})] {
        let error = Authenticator::new(&set_of(&keys)).err().expect("no usable key").to_string();
        assert_eq!(error, "t.toml:3:7: auth.jwks_file: found no key for any of `algorithms`", "{keys}");
    }
    let mut encrypting = key_set(&[("a", Algorithm::Rs256)]);
    let set = encrypting.key_set.as_mut().expect("a set");
    set.text = set.text.replace("\"kty\"", "\"use\":\"enc\",\"kty\"");
    assert!(Authenticator::new(&encrypting).is_err(), "a key for encryption signs nothing");
    let error = Authenticator::new(&set_of(&json!([1]))).err().expect("not a set").to_string();
    assert!(error.contains("not a JSON Web Key Set"), "{error}");
    let error = Authenticator::new(&public_key(Algorithm::Rs256, RSA1024_PUBLIC)).err().expect("weak").to_string();
    assert!(error.contains("2048 to 8192 bits"), "{error}");
}
