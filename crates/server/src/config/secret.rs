//! Secrets that no log shows, and the refusal of weak ones.

use std::fmt;

/// Fewest bytes of an HS256 secret: as long as the hash (RFC 7518 section 3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// Fewest different bytes; a random secret of 32 hexadecimal digits has about 14.
const DISTINCT_BYTES_MIN: usize = 8;
/// Fewest bytes that are not a word of [`WEAK_WORDS`] or punctuation.
const UNGUESSABLE_BYTES_MIN: usize = 16;
/// Words of examples and defaults, longest first where one contains another.
const WEAK_WORDS: &[&str] = &[
    "changeme", "password", "passwort", "tidelock", "replace", "default", "example", "insecure", "keyboard", "secret",
    "change", "please", "qwerty", "token", "123456", "admin", "0123", "test", "your", "this", "with", "abcd", "bit",
    "key", "jwt", "dev", "me",
];

/// Bytes that neither `Debug` nor an error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Draws 32 bytes from the operating system.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES_MIN];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes, for a key and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Why the secret must not protect anything; `None` when nothing speaks against it.
    pub(super) fn weakness(&self) -> Option<String> {
        let length = self.0.len();
        if length < SECRET_BYTES_MIN {
            return Some(format!("the secret has {length} bytes; expected at least {SECRET_BYTES_MIN} random bytes"));
        }
        let mut distinct = self.0.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let mut rest = String::from_utf8_lossy(&self.0).to_lowercase();
        for word in WEAK_WORDS {
            rest = rest.replace(word, "");
        }
        let unguessable = rest.chars().filter(|c| c.is_alphanumeric() || !c.is_ascii()).count();
        if distinct.len() < DISTINCT_BYTES_MIN || unguessable < UNGUESSABLE_BYTES_MIN {
            return Some(
                "the secret is a default or easy to guess; expected random bytes (`openssl rand -hex 32`)".to_owned(),
            );
        }
        None
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
