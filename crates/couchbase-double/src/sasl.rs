//! The server's side of SASL: PLAIN and SCRAM (`kv_engine` docs/sasl.md; RFC 5802, RFC 7677).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// The mechanisms, as the answer to "list mechanisms" names them.
pub(crate) const MECHANISMS: &str = "SCRAM-SHA512 SCRAM-SHA256 SCRAM-SHA1 PLAIN";
const ITERATIONS: u32 = 4096;
/// A user has one for all exchanges (`kv_engine` `include/cbsasl/scram_password_meta_data.h`).
const SALT: [u8; 16] = *b"salt of the user";

#[derive(Clone, Copy)]
enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        fn run<M: Mac + hmac::digest::KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
            let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha1 => run::<Hmac<Sha1>>(key, data),
            Self::Sha256 => run::<Hmac<Sha256>>(key, data),
            Self::Sha512 => run::<Hmac<Sha512>>(key, data),
        }
    }

    /// The salted password, computed once for each: it costs as much as everything else of a connection.
    fn salted(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        static KNOWN: Mutex<BTreeMap<Vec<u8>, Vec<u8>>> = Mutex::new(BTreeMap::new());
        let key = [&[self as u8], password, salt].concat();
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(key).or_insert_with(|| self.iterated(password, salt)).clone()
    }

    /// `Hi` of RFC 5802: PBKDF2 with one block.
    fn iterated(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        let mut block = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut sum = block.clone();
        for _ in 1..ITERATIONS {
            block = self.hmac(password, &block);
            sum = xor(&sum, &block);
        }
        sum
    }
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

/// An exchange that waits for the client's last message.
pub(crate) struct Scram {
    hash: Hash,
    user: String,
    nonce: String,
    salt: Vec<u8>,
    /// The client's first message without its header, and the server's first message.
    transcript: String,
}

/// What the server answers.
pub(crate) enum Answer {
    Done {
        user: String,
        data: Vec<u8>,
    },
    Continue(Scram, Vec<u8>),
    /// The user, the password or the mechanism.
    Refused,
    /// The message itself: the server calls that an invalid request (`BAD_PARAM`).
    Malformed,
}

/// The first message of a mechanism.
pub(crate) fn start(mechanism: &[u8], data: &[u8], password_of: impl Fn(&str) -> Option<String>) -> Answer {
    let hash = match mechanism {
        b"PLAIN" => return plain(data, password_of),
        b"SCRAM-SHA1" => Hash::Sha1,
        b"SCRAM-SHA256" => Hash::Sha256,
        b"SCRAM-SHA512" => Hash::Sha512,
        _ => return Answer::Refused,
    };
    Scram::first(hash, data).map_or(Answer::Malformed, |(scram, answer)| Answer::Continue(scram, answer))
}

/// `[authzid] NUL user NUL password`, and perhaps another NUL (cbsasl/plain/plain.cc).
fn plain(data: &[u8], password_of: impl Fn(&str) -> Option<String>) -> Answer {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\0').skip(1);
    let (Some(user), Some(password)) = (parts.next(), parts.next()) else {
        return Answer::Malformed;
    };
    let password = password.strip_suffix('\0').unwrap_or(password);
    if password_of(user).as_deref() == Some(password) {
        Answer::Done { user: user.to_owned(), data: Vec::new() }
    } else {
        Answer::Refused
    }
}

impl Scram {
    fn first(hash: Hash, data: &[u8]) -> Option<(Self, Vec<u8>)> {
        let text = std::str::from_utf8(data).ok()?;
        // No channel binding is offered; whom the client wants to be does not matter.
        let (_, bare) = text.strip_prefix("n,")?.split_once(',')?;
        let user = attribute(bare, 'n').filter(|name| !name.is_empty())?.replace("=2C", ",").replace("=3D", "=");
        let mut random = [0; 18];
        getrandom::fill(&mut random).ok()?;
        let (salt, nonce) = (SALT, random);
        let nonce = format!("{}{}", attribute(bare, 'r').filter(|nonce| !nonce.is_empty())?, STANDARD.encode(nonce));
        let answer = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(salt));
        let transcript = format!("{bare},{answer}");
        let scram = Self { hash, user, nonce, salt: salt.to_vec(), transcript };
        Some((scram, answer.into_bytes()))
    }

    /// The client's last message: its proof (cbsasl/scram-sha/scram-sha-server.cc, `step`).
    pub(crate) fn last(self, data: &[u8], password_of: impl Fn(&str) -> Option<String>) -> Answer {
        let Some((without_proof, proof)) = self.proof(data) else { return Answer::Malformed };
        let Some(password) = password_of(&self.user) else { return Answer::Refused };
        let salted = self.hash.salted(password.as_bytes(), &self.salt);
        let stored = self.hash.digest(&self.hash.hmac(&salted, b"Client Key"));
        let transcript = format!("{},{without_proof}", self.transcript);
        let key = xor(&proof, &self.hash.hmac(&stored, transcript.as_bytes()));
        if proof.len() != stored.len() {
            return Answer::Malformed;
        }
        if self.hash.digest(&key) != stored {
            return Answer::Refused;
        }
        let server_key = self.hash.hmac(&salted, b"Server Key");
        let signature = self.hash.hmac(&server_key, transcript.as_bytes());
        Answer::Done { user: self.user, data: format!("v={}", STANDARD.encode(signature)).into_bytes() }
    }

    /// The message but for the proof, and the proof. What it says of channel binding is not compared.
    fn proof<'a>(&self, data: &'a [u8]) -> Option<(&'a str, Vec<u8>)> {
        let text = std::str::from_utf8(data).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        attribute(without_proof, 'c')?;
        let is_answer = attribute(without_proof, 'r')? == self.nonce;
        Some((without_proof, STANDARD.decode(proof).ok()?)).filter(|_| is_answer)
    }
}

/// The value of `name=value` in a comma-separated list.
fn attribute(text: &str, name: char) -> Option<&str> {
    text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password_of(user: &str) -> Option<String> {
        (user == "u").then(|| "p".to_owned())
    }

    #[test]
    fn plain_compares_the_password() {
        assert!(matches!(start(b"PLAIN", b"\0u\0p", password_of), Answer::Done { .. }));
        assert!(matches!(start(b"PLAIN", b"\0u\0q", password_of), Answer::Refused));
        assert!(matches!(start(b"PLAIN", b"as\0u\0p\0", password_of), Answer::Done { .. }));
        for malformed in [&b"u"[..], b"\0u", b""] {
            assert!(matches!(start(b"PLAIN", malformed, password_of), Answer::Malformed));
        }
    }

    #[test]
    fn a_wrong_proof_is_refused() {
        let Answer::Continue(scram, first) = start(b"SCRAM-SHA256", b"n,,n=u,r=abc", password_of) else {
            panic!("no challenge");
        };
        let nonce = attribute(std::str::from_utf8(&first).unwrap(), 'r').unwrap().to_owned();
        assert!(nonce.starts_with("abc") && nonce.len() > 10);
        let last = format!("c=biws,r={nonce},p={}", STANDARD.encode([0; 32]));
        assert!(matches!(scram.last(last.as_bytes(), password_of), Answer::Refused));
        for malformed in [&b"y,,n=u,r=abc"[..], b"p=x,,n=u,r=abc", b"n,,n=u", b"n,,r=abc", b"n,,n=,r=abc", b""] {
            assert!(matches!(start(b"SCRAM-SHA256", malformed, password_of), Answer::Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn the_key_derivation_is_that_of_rfc_5802() {
        // The example exchange of RFC 5802, section 5.
        let scram = Scram {
            hash: Hash::Sha1,
            user: "user".into(),
            nonce: "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j".into(),
            salt: STANDARD.decode("QSXCR+Q6sek8bf92").unwrap(),
            transcript: "n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
                r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
                .into(),
        };
        let last = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        let Answer::Done { data, .. } = scram.last(last, |_| Some("pencil".into())) else { panic!("refused") };
        assert_eq!(data, b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    }
}
