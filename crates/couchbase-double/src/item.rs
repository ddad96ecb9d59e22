//! A document, a tombstone or a system event, as a vbucket keeps it (`kv_engine` docs/Document.md).

use crate::manifest::SystemEvent;
use crate::wire::{datatype, word};

/// The newest version under a key of a vbucket.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Collection id as LEB128, then the document's key.
    pub(crate) key: Vec<u8>,
    pub(crate) seqno: u64,
    /// Counts the versions of the document.
    pub(crate) revision: u64,
    pub(crate) cas: u64,
    pub(crate) flags: u32,
    /// Seconds since 1970; 0 for none.
    pub(crate) expiry: u32,
    pub(crate) xattrs: Xattrs,
    pub(crate) body: Vec<u8>,
    pub(crate) is_json: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Live,
    /// A tombstone, since the given time in seconds.
    Deleted {
        at: u32,
        by_expiry: bool,
    },
    System(SystemEvent),
}

impl Item {
    pub(crate) fn is_live(&self) -> bool {
        self.kind == Kind::Live
    }

    /// Seconds since 1970: of a document its expiry, of a tombstone the time of its deletion, which is in the same place
    /// (engines/ep/src/vbucket.cc, `queueDirty`).
    pub(crate) fn time(&self) -> u32 {
        if let Kind::Deleted { at, .. } = self.kind { at } else { self.expiry }
    }

    /// The datatype bits of the value: JSON, and xattrs when they are there and asked for.
    pub(crate) fn datatype(&self, with_xattrs: bool) -> u8 {
        let json = if self.is_json { datatype::JSON } else { 0 };
        let xattr = if with_xattrs && !self.xattrs.is_empty() { datatype::XATTR } else { 0 };
        json | xattr
    }

    /// The value with its xattr section in front (docs/Document.md, "`XAttr` - extended attributes").
    pub(crate) fn value_with_xattrs(&self) -> Vec<u8> {
        if self.xattrs.is_empty() {
            return self.body.clone();
        }
        let mut value = self.xattrs.encode();
        value.extend(&self.body);
        value
    }
}

/// Extended attributes in the order in which they were written: key and JSON value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Xattrs(Vec<(String, Vec<u8>)>);

impl Xattrs {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(_, value)| value.as_slice())
    }

    /// Bytes of the section, and those of them that are of system xattrs.
    pub(crate) fn section_bytes(&self) -> (usize, usize) {
        let bytes = |xattrs: &Self| xattrs.0.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
        let all: usize = bytes(self);
        (if self.is_empty() { 0 } else { all + 4 }, bytes(&self.system_only()))
    }

    /// Names in order, and values as the server writes them when it has edited any (`daemon/subdocument_context.cc`, `do_xattr_phase`).
    pub(crate) fn normalize(&mut self) {
        for (_, value) in &mut self.0 {
            if let Ok(read) = serde_json::from_slice::<serde_json::Value>(value) {
                *value = read.to_string().into_bytes();
            }
        }
        self.0.sort_by(|(left, _), (right, _)| left.cmp(right));
    }

    /// Puts one text in the place of another one, which is of the same length, wherever it is in the xattrs of these names.
    pub(crate) fn replace<'a>(&mut self, names: impl Iterator<Item = &'a str>, old: &[u8], new: &[u8]) {
        let names: Vec<&str> = if old == new { Vec::new() } else { names.collect() };
        for (_, value) in self.0.iter_mut().filter(|(key, _)| names.contains(&key.as_str())) {
            while let Some(at) = value.windows(old.len()).position(|part| part == old) {
                value.splice(at..at + old.len(), new.iter().copied());
            }
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn set(&mut self, name: &str, value: Vec<u8>) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// What a tombstone keeps: names with a leading underscore (`daemon/protocol/mcbp/remove_context.cc`, `rebuildXattr`).
    pub(crate) fn system_only(&self) -> Self {
        Self(self.0.iter().filter(|(key, _)| key.starts_with('_')).cloned().collect())
    }

    /// Section length, then per attribute its length, key, NUL, value, NUL.
    fn encode(&self) -> Vec<u8> {
        let mut section = vec![0; 4];
        for (key, value) in &self.0 {
            section.extend(word(key.len() + value.len() + 2).to_be_bytes());
            section.extend(key.as_bytes());
            section.push(0);
            section.extend(value);
            section.push(0);
        }
        let length = word(section.len() - 4).to_be_bytes();
        section.splice(..4, length);
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_the_documented_layout() {
        let mut xattrs = Xattrs::default();
        xattrs.set("_a", b"1".to_vec());
        xattrs.set("u", b"2".to_vec());
        assert_eq!(xattrs.encode(), b"\0\0\0\x11\0\0\0\x05_a\x001\0\0\0\0\x04u\x002\0");
        assert_eq!(xattrs.system_only().names().collect::<Vec<_>>(), ["_a"]);
    }
}
