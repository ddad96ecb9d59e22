//! SCRAM, the client's side (RFC 5802, RFC 7677; `kv_engine` docs/sasl.md names the mechanisms without the second hyphen).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::error::Error;
use crate::limits::SCRAM_ITERATIONS_MAX;

/// The hash of a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha512,
    Sha256,
    Sha1,
}

impl Hash {
    /// The best one of those that a server offers, by a list of names with blanks between them.
    pub(crate) fn best(offered: &str) -> Option<Self> {
        let is_offered = |hash: &Self| offered.split_ascii_whitespace().any(|name| name == hash.mechanism());
        [Self::Sha512, Self::Sha256, Self::Sha1].into_iter().find(is_offered)
    }

    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha512 => "SCRAM-SHA512",
            Self::Sha256 => "SCRAM-SHA256",
            Self::Sha1 => "SCRAM-SHA1",
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha512 => Sha512::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha1 => Sha1::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        fn run<M: Mac + hmac::digest::KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
            let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha512 => run::<Hmac<Sha512>>(key, data),
            Self::Sha256 => run::<Hmac<Sha256>>(key, data),
            Self::Sha1 => run::<Hmac<Sha1>>(key, data),
        }
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        fn run<M: Mac + hmac::digest::KeyInit + hmac::digest::FixedOutput + Clone + Sync>(
            password: &[u8],
            salt: &[u8],
            iterations: u32,
            length: usize,
        ) -> Vec<u8> {
            let mut key = vec![0; length];
            pbkdf2::pbkdf2::<M>(password, salt, iterations, &mut key).expect("HMAC takes keys of any length");
            key
        }
        match self {
            Self::Sha512 => run::<Hmac<Sha512>>(password, salt, iterations, 64),
            Self::Sha256 => run::<Hmac<Sha256>>(password, salt, iterations, 32),
            Self::Sha1 => run::<Hmac<Sha1>>(password, salt, iterations, 20),
        }
    }
}

/// An exchange: [`first`](Self::first), then [`last`](Self::last), then [`verify`](Self::verify).
pub(crate) struct Scram<'a> {
    hash: Hash,
    password: &'a str,
    nonce: String,
    first_bare: String,
    /// What the server has to answer at the end.
    signature: Vec<u8>,
}

fn wrong(what: &str) -> Error {
    Error::Authentication(format!("the server's {what} is malformed"))
}

impl<'a> Scram<'a> {
    /// Begins with a random nonce.
    pub(crate) fn new(hash: Hash, user: &str, password: &'a str) -> Result<Self, Error> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|error| Error::Configuration(format!("no random numbers: {error}")))?;
        Ok(Self::with_nonce(hash, user, password, STANDARD.encode(random)))
    }

    fn with_nonce(hash: Hash, user: &str, password: &'a str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Self { hash, password, nonce, first_bare, signature: Vec::new() }
    }

    /// The client's first message; there is no channel binding.
    pub(crate) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// The client's proof, for the server's first message.
    pub(crate) fn last(&mut self, server_first: &[u8]) -> Result<Vec<u8>, Error> {
        let text = std::str::from_utf8(server_first).map_err(|_| wrong("first message"))?;
        let nonce = attribute(text, 'r').ok_or_else(|| wrong("nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(wrong("nonce"));
        }
        let salt = attribute(text, 's').and_then(|salt| STANDARD.decode(salt).ok()).ok_or_else(|| wrong("salt"))?;
        let iterations = attribute(text, 'i').and_then(|count| count.parse().ok());
        let iterations = iterations
            .filter(|count| (1..=SCRAM_ITERATIONS_MAX).contains(count))
            .ok_or_else(|| wrong("number of iterations"))?;
        let salted = self.hash.salted(self.password.as_bytes(), &salt, iterations);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let stored_key = self.hash.digest(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let transcript = format!("{},{text},{without_proof}", self.first_bare);
        let client_signature = self.hash.hmac(&stored_key, transcript.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        self.signature = self.hash.hmac(&server_key, transcript.as_bytes());
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Whether the server knows the password, too.
    pub(crate) fn verify(&self, server_last: &[u8]) -> Result<(), Error> {
        let text = std::str::from_utf8(server_last).map_err(|_| wrong("last message"))?;
        let signature = attribute(text, 'v').and_then(|signature| STANDARD.decode(signature).ok());
        if self.signature.is_empty() || signature.as_ref() != Some(&self.signature) {
            return Err(Error::Authentication("the server does not prove that it knows the password".into()));
        }
        Ok(())
    }
}

/// The value of `name=value` in a list with commas.
fn attribute(text: &str, name: char) -> Option<&str> {
    text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hash: Hash, nonce: &str, server_first: &str, proof: &str, server_last: &str) {
        let mut scram = Scram::with_nonce(hash, "user", "pencil", nonce.into());
        assert_eq!(scram.first(), format!("n,,n=user,r={nonce}").into_bytes());
        let last = String::from_utf8(scram.last(server_first.as_bytes()).unwrap()).unwrap();
        assert!(last.ends_with(&format!(",p={proof}")), "{last}");
        scram.verify(server_last.as_bytes()).unwrap();
        assert!(scram.verify(b"v=AAAA").is_err());
    }

    #[test]
    fn the_examples_of_the_standards() {
        // RFC 5802, section 5.
        check(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        // RFC 7677, section 3.
        check(
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
        // No standard has one of SHA-512: the same exchange, computed with Python's hashlib and hmac.
        check(
            Hash::Sha512,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
            "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        );
    }

    #[test]
    fn a_server_that_cheats_is_refused() {
        let first = |text: &str| Scram::with_nonce(Hash::Sha512, "u", "p", "abc".into()).last(text.as_bytes());
        assert!(first("r=abcd,s=AAAA,i=4096").is_ok());
        for text in [
            "",
            "r=xyz1,s=AAAA,i=1",
            "r=abc,s=AAAA,i=1",
            "r=abcd,s=?,i=1",
            "r=abcd,s=AAAA,i=0",
            "r=abcd,s=AAAA,i=4000000000",
        ] {
            assert!(first(text).is_err(), "{text}");
        }
        assert!(Scram::with_nonce(Hash::Sha512, "u", "p", "abc".into()).verify(b"v=").is_err());
    }

    #[test]
    fn the_best_mechanism_is_taken() {
        assert_eq!(Hash::best("PLAIN SCRAM-SHA1 SCRAM-SHA512"), Some(Hash::Sha512));
        assert_eq!(Hash::best("SCRAM-SHA1 SCRAM-SHA256"), Some(Hash::Sha256));
        assert_eq!(Hash::best("PLAIN"), None);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(Scram::with_nonce(Hash::Sha1, "a,b=c", "p", "r".into()).first(), b"n,,n=a=2Cb=3Dc,r=r");
    }
}
