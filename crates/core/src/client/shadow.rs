//! Shadow pages: the server-confirmed values and versions, 100 or so documents per record.
//!
//! A page is the concatenation of CBOR `[key, version, body]` by rising key (bytewise), all of one collection. Pages of a collection
//! partition its key space: a page covers the keys from its bound up to the next page's. The pages' bounds are in memory
//! ([`Directory`]); their contents are read by the task that needs them.

use super::storage::{PageId, WriteOp};
use crate::ids::{DocumentId, Version};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::prelude::*;
use crate::wire::cbor_struct;
use crate::wire::{Cbor, Reader, WireError, Writer};

/// A page that grows beyond this many bytes is cut.
pub(super) const PAGE_BYTES_MAX: usize = 48 << 10;
/// Size of the pieces that it is cut into.
pub(super) const PAGE_BYTES_TARGET: usize = 32 << 10;

/// At most this many bytes of a page item are neither key nor body.
const ITEM_OVERHEAD_BYTES: usize = 20;

/// What the server confirmed of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// Key in platform form.
    pub(super) key: String,
    /// Its version.
    pub(super) version: Version,
    /// Its JSON text.
    pub(super) body: Vec<u8>,
}

cbor_struct!(Confirmed { key, version, body });

/// The bounds of all pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    bounds: OrderedMap<String, OrderedSet<String>>,
}

impl Directory {
    pub(super) fn new(pages: Vec<PageId>) -> Self {
        let mut directory = Self::default();
        for page in pages {
            directory.bounds.or_default(page.collection).insert(page.first);
        }
        directory
    }

    /// The page that covers a key.
    pub(super) fn page_of(&self, collection: &str, key: &str) -> PageId {
        let bound = self.bounds.get(collection).and_then(|bounds| bounds.floor(key));
        PageId { collection: collection.into(), first: bound.cloned().unwrap_or_default() }
    }

    /// The pages that may hold keys after `after` (exclusive) up to `through` (inclusive); `None` is unbounded.
    pub(super) fn pages_between(&self, collection: &str, after: Option<&str>, through: Option<&str>) -> Vec<PageId> {
        let start = self.page_of(collection, after.unwrap_or("")).first;
        let Some(bounds) = self.bounds.get(collection) else { return Vec::new() };
        bounds
            .starting_at(&start)
            .take_while(|first| through.is_none_or(|through| first.as_str() <= through))
            .map(|first| PageId { collection: collection.into(), first: first.clone() })
            .collect()
    }

    /// Every page, by collection and bound.
    pub(super) fn pages(&self) -> Vec<PageId> {
        let page =
            |collection: &String, first: &String| PageId { collection: collection.clone(), first: first.clone() };
        self.bounds
            .iter()
            .flat_map(|(collection, firsts)| firsts.iter().map(move |first| page(collection, first)))
            .collect()
    }

    /// Follows a write that was committed.
    pub(super) fn follow(&mut self, change: PageChange) {
        match change {
            PageChange::Stored(page) => {
                self.bounds.or_default(page.collection).insert(page.first);
            }
            PageChange::Deleted(page) => {
                if let Some(bounds) = self.bounds.get_mut(&page.collection) {
                    bounds.remove(&page.first);
                }
            }
        }
    }
}

/// The documents of a shadow page: key in platform form, version, JSON text. For tools and tests.
pub fn shadow_documents(bytes: &[u8]) -> Result<Vec<(String, Version, Vec<u8>)>, WireError> {
    let mut documents = Vec::new();
    let mut reader = Reader::new(bytes);
    while reader.rest() > 0 {
        let item = Confirmed::read(&mut reader);
        documents.push((item.key, item.version, item.body));
    }
    reader.finish()?;
    Ok(documents)
}

/// Key and version of each document of a page, without a copy of the bodies. After an error nothing more is told.
pub(super) fn shadow_versions(bytes: &[u8], act: &mut dyn FnMut(&str, Version)) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    while reader.rest() > 0 {
        let mut fields = reader.items();
        if reader.more(&mut fields) {
            let key = reader.text();
            let version = reader.field(&mut fields);
            reader.skip(fields);
            act(key, version);
        }
    }
    reader.finish()
}

/// What a task does to the set of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageChange {
    Stored(PageId),
    Deleted(PageId),
}

impl PageChange {
    /// What a write does to the set of pages.
    pub(super) fn of(write: &WriteOp) -> Option<Self> {
        if let WriteOp::ShadowPut(page, _) = write {
            return Some(Self::Stored(page.clone()));
        }
        if let WriteOp::ShadowDelete(page) = write { Some(Self::Deleted(page.clone())) } else { None }
    }
}

/// The pages that a task has read, and what it changes in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: OrderedMap<PageId, Page>,
}

#[derive(Clone, Debug, Default)]
struct Page {
    /// Whether the store has it.
    stored: bool,
    changed: bool,
    documents: OrderedMap<String, (Version, Vec<u8>)>,
}

impl Pages {
    /// Adds a page as it was read.
    pub(super) fn load(&mut self, id: PageId, bytes: Option<&[u8]>) -> Result<(), WireError> {
        let documents = shadow_documents(bytes.unwrap_or_default())?;
        let documents = documents.into_iter().map(|(key, version, body)| (key, (version, body))).collect();
        let page = Page { stored: bytes.is_some(), changed: false, documents };
        self.pages.insert(id, page);
        Ok(())
    }

    /// Whether the page that covers the key was read.
    pub(super) fn has(&self, page: &PageId) -> bool {
        self.pages.contains_key(page)
    }

    /// What the server confirmed of a document.
    pub(super) fn confirmed(&self, id: &DocumentId) -> Option<(Version, &[u8])> {
        let (version, body) = self.page(id)?.documents.get(&id.key)?;
        Some((*version, body))
    }

    /// Records what the server confirmed; `None` when the document does not exist.
    ///
    /// The page that covers the document was read before: a task reads the pages of all documents that it may confirm.
    pub(super) fn confirm(&mut self, id: &DocumentId, state: Option<(Version, Vec<u8>)>) {
        let bound = self.bound_of(id);
        let page = self.pages.or_default(bound);
        page.changed = true;
        match state {
            Some(state) => page.documents.insert(id.key.clone(), state),
            None => page.documents.remove(&id.key),
        };
    }

    /// Confirmed documents of a collection with keys after `after` up to `through`, as far as their pages were read.
    pub(super) fn keys_between<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        through: Option<&'a str>,
    ) -> impl Iterator<Item = &'a str> {
        self.documents(collection)
            .map(|(key, _, _)| key)
            .filter(move |key| after.is_none_or(|after| *key > after) && through.is_none_or(|through| *key <= through))
    }

    /// Confirmed documents of a collection, as far as their pages were read.
    pub(super) fn documents<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = (&'a str, Version, &'a [u8])> {
        let pages = self.pages.iter().filter(move |(id, _)| id.collection == collection);
        pages.flat_map(|(_, page)| {
            page.documents.iter().map(|(key, (version, body))| (key.as_str(), *version, body.as_slice()))
        })
    }

    /// The writes that store what changed, cutting pages that grew too large.
    pub(super) fn into_writes(self) -> Vec<WriteOp> {
        let mut writes = Vec::new();
        for (id, page) in self.pages.into_iter().filter(|(_, page)| page.changed) {
            write_page(&id, &page, &mut writes);
        }
        writes
    }

    fn bound_of(&self, id: &DocumentId) -> PageId {
        let probe = PageId { collection: id.collection.clone(), first: id.key.clone() };
        let found = self.pages.floor(&probe).map(|(page, _)| page).filter(|page| page.collection == id.collection);
        found.cloned().unwrap_or_else(|| PageId { collection: id.collection.clone(), first: String::new() })
    }

    fn page(&self, id: &DocumentId) -> Option<&Page> {
        self.pages.get(&self.bound_of(id))
    }
}

fn write_page(id: &PageId, page: &Page, writes: &mut Vec<WriteOp>) {
    if page.documents.is_empty() && !id.first.is_empty() {
        if page.stored {
            writes.push(WriteOp::ShadowDelete(id.clone()));
        }
        return;
    }
    let total: usize = page.documents.iter().map(|(key, (_, body))| key.len() + body.len() + ITEM_OVERHEAD_BYTES).sum();
    let piece_bytes = if total > PAGE_BYTES_MAX { PAGE_BYTES_TARGET } else { usize::MAX };
    let mut first = id.first.clone();
    let mut bytes = Vec::with_capacity(total.min(PAGE_BYTES_MAX));
    for (key, (version, body)) in page.documents.iter() {
        if !bytes.is_empty() && bytes.len() + key.len() + body.len() + ITEM_OVERHEAD_BYTES > piece_bytes {
            put_piece(id, core::mem::replace(&mut first, key.clone()), core::mem::take(&mut bytes), writes);
        }
        bytes = encode_item(bytes, key, *version, body);
    }
    put_piece(id, first, bytes, writes);
}

fn put_piece(id: &PageId, first: String, bytes: Vec<u8>, writes: &mut Vec<WriteOp>) {
    writes.push(WriteOp::ShadowPut(PageId { collection: id.collection.clone(), first }, bytes));
}

/// Appends what [`Confirmed`] reads, without copying the body first.
fn encode_item(bytes: Vec<u8>, key: &str, version: Version, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer(bytes);
    writer.array(3);
    writer.text(key);
    writer.unsigned(version.0);
    writer.bytes(body);
    writer.0
}
