//! The working surface of a task: what it has read, what it will write, and what the memory takes over once that is durable.

use super::event::Event;
use super::shadow::{PageChange, Pages};
use super::state::{Position, Replica, Unresolved};
use super::storage::{PageId, Read, ReadResult, RejectedDocument, RejectedRecord, Row, WriteOp};
use super::{Client, Pending};
use crate::ids::{DocumentId, Offset, Sequence, Version};
use crate::json::{self, Value};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::wire::{ConflictNote, DocumentPolicy, ErrorCode, encode};
use crate::{merge, version};

/// A state that the server confirmed: version and JSON text, `None` when the document does not exist.
pub(super) type Theirs = Option<(Version, Vec<u8>)>;

/// The working surface of a task.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) pages: Pages,
    rows: OrderedMap<DocumentId, Row>,
    asked: Vec<Asked>,
    pub(super) writes: Vec<WriteOp>,
    pub(super) after: Aftermath,
}

#[derive(Debug)]
enum Asked {
    Page(PageId),
    Rows(String, Vec<String>),
}

/// What the memory takes over when the task's transaction is durable.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) replica: Option<Replica>,
    pub(super) position: Option<Position>,
    pub(super) pending_added: Vec<Pending>,
    pub(super) pending_removed: Vec<Sequence>,
    /// Records of acknowledged mutations: key, last mutation, bytes.
    pub(super) kept_added: Vec<(Sequence, Sequence, usize)>,
    /// How many of the oldest go.
    pub(super) kept_forgotten: usize,
    pub(super) outbox_removed: Vec<(String, u64)>,
    pub(super) page_changes: Vec<PageChange>,
    pub(super) changed: OrderedMap<String, Vec<String>>,
    /// Rows with unsent changes that were written over by what they and the server's state make together: what they were.
    pub(super) rebased: OrderedMap<DocumentId, Option<Vec<u8>>>,
    pub(super) credit_bytes: usize,
    pub(super) conflicts: Vec<ConflictNote>,
    pub(super) events: Vec<Event>,
    pub(super) rejected_added: u64,
    pub(super) settled: Vec<(DocumentId, Offset)>,
    /// Documents that the client does not hold any more, because they left its channels or may have.
    pub(super) forgotten: Vec<DocumentId>,
    pub(super) unresolved: Option<OrderedMap<DocumentId, Unresolved>>,
    /// Conflicts whose question is void.
    pub(super) asked_again: Vec<DocumentId>,
    /// Whether the client shows a consistent cut from here on; `None` when nothing was said of it.
    pub(super) caught_up: Option<bool>,
    /// The reconciliation of which the last frame was applied.
    pub(super) reconciled: Option<u64>,
    /// Whether the server left out a document that the client does not have any more.
    pub(super) lacks: bool,
    pub(super) idle: bool,
}

impl Desk {
    /// Asks for pages and rows that were not read yet.
    pub(super) fn want(
        &mut self,
        pages: impl IntoIterator<Item = PageId>,
        rows: impl IntoIterator<Item = DocumentId>,
    ) -> Vec<Read> {
        let mut reads = Vec::new();
        let wanted: OrderedSet<PageId> = pages.into_iter().filter(|page| !self.pages.has(page)).collect();
        for page in wanted {
            reads.push(Read::ShadowPage(page.clone()));
            self.asked.push(Asked::Page(page));
        }
        let mut keys: OrderedMap<String, OrderedSet<String>> = OrderedMap::new();
        for id in rows.into_iter().filter(|id| !self.rows.contains_key(id)) {
            keys.or_default(id.collection).insert(id.key);
        }
        for (collection, keys) in keys {
            let keys: Vec<String> = keys.into_iter().collect();
            reads.push(Read::Rows { collection: collection.clone(), keys: keys.clone() });
            self.asked.push(Asked::Rows(collection, keys));
        }
        reads
    }

    /// Takes the answers of the last [`want`](Self::want).
    pub(super) fn absorb(&mut self, results: Vec<ReadResult>) {
        for (asked, result) in core::mem::take(&mut self.asked).into_iter().zip(results) {
            match (asked, result) {
                (Asked::Page(page), ReadResult::ShadowPage(bytes)) => self.load_page(page, bytes.as_deref()),
                (Asked::Rows(collection, keys), ReadResult::Rows(rows)) => {
                    for (key, row) in keys.into_iter().zip(rows) {
                        self.rows.insert(DocumentId::new(collection.as_str(), key), row);
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds a row that was read by a scan.
    pub(super) fn add_row(&mut self, id: DocumentId, row: Row) {
        self.rows.insert(id, row);
    }

    /// The row as it was read; absent when it was not asked for.
    pub(super) fn row(&self, id: &DocumentId) -> &Row {
        self.rows.get(id).unwrap_or(&Row::Absent)
    }

    /// A page that cannot be read is taken as empty: its documents count as unconfirmed, which costs a comparison and loses nothing.
    fn load_page(&mut self, page: PageId, bytes: Option<&[u8]>) {
        if let Err(error) = self.pages.load(page.clone(), bytes) {
            let message = format!("shadow page {}/{} is damaged: {error}", page.collection, page.first);
            self.after.events.push(Event::Problem { code: "shadow-damaged", message, retryable: true });
            let _empty = self.pages.load(page, None);
        }
    }

    /// The server's state of a document has changed. `dirty`: the row may hold unsent changes, and was read.
    pub(super) fn receive(&mut self, client: &Client, id: &DocumentId, theirs: Theirs, dirty: bool) {
        let confirmed = self.pages.confirmed(id);
        let confirmed_version = confirmed.map_or(Version::ABSENT, |(version, _)| version);
        let version = theirs.as_ref().map_or(Version::ABSENT, |(version, _)| *version);
        if let Some(entry) = client.unresolved.get(id) {
            // The resolver is asked again, against what the server has by this change; the row stays the user's.
            let theirs_body = theirs.as_ref().map(|(_, body)| body.clone());
            self.add_unresolved(client, Unresolved { theirs: theirs_body, ..entry.clone() });
            self.pages.confirm(id, theirs);
            return;
        }
        if !dirty || client.is_refused(id, self.row(id)) {
            if version != confirmed_version {
                self.write_row(id, theirs.as_ref().map(|(_, body)| body.clone()));
                self.pages.confirm(id, theirs);
            }
            return;
        }
        let base = confirmed.map(|(_, body)| body.to_vec());
        self.rebase_row(client, id, base.as_deref(), &theirs);
        if version != confirmed_version {
            self.pages.confirm(id, theirs);
        }
    }

    /// The server has answered for a document: it was sent as `sent`, its state is `theirs`. `dirty`: the row may have changed since.
    pub(super) fn settle(
        &mut self,
        client: &Client,
        id: &DocumentId,
        sent: Option<&[u8]>,
        theirs: Theirs,
        dirty: bool,
    ) {
        if dirty {
            self.rebase_row(client, id, sent, &theirs);
        } else if !same_content(sent, theirs.as_ref().map(|(_, body)| body.as_slice())) {
            self.write_row(id, theirs.as_ref().map(|(_, body)| body.clone()));
        }
        self.pages.confirm(id, theirs);
    }

    /// Removes a document that the client may not hold any more. Unsent changes since `base` go to the list of rejected mutations.
    /// `dirty`: the row may hold some, and was read.
    pub(super) fn forget(&mut self, client: &Client, id: &DocumentId, base: Option<&[u8]>, dirty: bool) {
        if dirty {
            let (mine, copy_row) = match self.row(id) {
                Row::Absent => (None, false),
                Row::Json(json) => (Some(json.clone()), false),
                Row::Unsupported(_) => (None, true),
            };
            if copy_row || !same_content(mine.as_deref(), base) {
                let message = format!("{id} is not readable any more; its unsent change was taken back");
                let document = RejectedDocument { id: id.clone(), mine, copy_row };
                self.reject(client, ErrorCode::Forbidden, message, vec![document]);
            }
        }
        if client.unresolved.contains_key(id) {
            self.remove_unresolved(client, id);
        }
        self.write_row(id, None);
        self.pages.confirm(id, None);
        self.after.forgotten.push(id.clone());
    }

    /// Confirms without touching the row: the content is what the client sent.
    pub(super) fn confirm(&mut self, id: &DocumentId, theirs: Theirs) {
        self.pages.confirm(id, theirs);
    }

    /// Writes a row, and notes it for the application.
    pub(super) fn write_row(&mut self, id: &DocumentId, body: Option<Vec<u8>>) {
        self.after.changed.or_default(id.collection.clone()).push(id.key.clone());
        self.writes.push(match body {
            Some(body) => WriteOp::RowPut(id.clone(), body),
            None => WriteOp::RowDelete(id.clone()),
        });
    }

    /// Puts an entry on the list of rejected mutations.
    pub(super) fn reject(
        &mut self,
        client: &Client,
        code: ErrorCode,
        message: String,
        documents: Vec<RejectedDocument>,
    ) {
        let ids = documents.iter().map(|document| document.id.clone()).collect();
        self.after.rejected_added += 1;
        self.after.events.push(Event::Rejected { code, message: message.clone(), documents: ids });
        if planted::has(Bug::RejectedLost) {
            return;
        }
        self.writes.push(WriteOp::RejectedAdd(RejectedRecord {
            code: code.name(),
            message,
            at_ms: client.now_ms,
            documents,
        }));
    }

    /// Writes a state record that the memory takes over.
    pub(super) fn put_replica(&mut self, replica: Replica) {
        self.writes.push(WriteOp::StatePut(super::state::REPLICA, encode(&replica)));
        self.after.replica = Some(replica);
    }

    /// Writes a state record that the memory takes over.
    pub(super) fn put_position(&mut self, position: Position) {
        self.writes.push(WriteOp::StatePut(super::state::POSITION, encode(&position)));
        self.after.position = Some(position);
    }

    /// All writes, those of the shadow included.
    pub(super) fn take_writes(&mut self) -> Vec<WriteOp> {
        let pages = core::mem::take(&mut self.pages).into_writes();
        self.after.page_changes = pages.iter().filter_map(PageChange::of).collect();
        let mut writes = core::mem::take(&mut self.writes);
        if let Some(unresolved) = &self.after.unresolved {
            let list: Vec<Unresolved> = unresolved.values().cloned().collect();
            writes.push(WriteOp::StatePut(super::state::UNRESOLVED, encode(&list)));
        }
        writes.extend(pages);
        writes
    }

    /// Three-way: what the user changed since `base` goes on top of the server's state. A row that has no JSON form stays as it is.
    pub(super) fn rebase_row(&mut self, client: &Client, id: &DocumentId, base: Option<&[u8]>, theirs: &Theirs) {
        let mine = match self.row(id) {
            Row::Unsupported(_) => return,
            Row::Absent => None,
            Row::Json(json) => Some(json.clone()),
        };
        let theirs = theirs.as_ref().map(|(_, body)| body.as_slice());
        let same = same_content(mine.as_deref(), theirs);
        if same_content(mine.as_deref(), base) {
            if !same {
                self.write_row(id, theirs.map(<[u8]>::to_vec));
            }
            return;
        }
        // Without a base equal contents are one document, met twice. With one they are two equal changes: two increments are two.
        if same && base.is_none() {
            return;
        }
        let (Some(base), Some(mine), Some(theirs)) = (parsed(base), parsed(mine.as_deref()), parsed(theirs)) else {
            return;
        };
        let policy = client.policy(&id.collection);
        let rebased = merge::rebase(base.as_ref(), mine.as_ref(), theirs.as_ref(), &policy);
        if rebased.undecided {
            let text = |value: Option<&Value>| value.map(json::write);
            let entry = Unresolved {
                id: id.clone(),
                base: text(base.as_ref()),
                mine: text(mine.as_ref()),
                theirs: text(theirs.as_ref()),
            };
            return self.hand_back(client, entry, policy.document);
        }
        self.after.conflicts.extend(rebased.conflicts.into_iter().map(|conflict| conflict.into_note(id)));
        if planted::has(Bug::RebaseForgetful) {
            return self.write_row(id, theirs.as_ref().map(json::write));
        }
        if rebased.value != mine {
            self.after.rebased.insert(id.clone(), mine.as_ref().map(json::write));
            self.write_row(id, rebased.value.as_ref().map(json::write));
        }
    }

    /// An unsent edit met a conflict that no rule of the client decides, and cannot be pushed against its own base any more (it was
    /// adopted, or could not be formed in time): the resolver decides, or the server's state stands and the user keeps the edit.
    fn hand_back(&mut self, client: &Client, entry: Unresolved, policy: DocumentPolicy) {
        if policy == DocumentPolicy::Resolver {
            return self.add_unresolved(client, entry);
        }
        let message = format!("{} was changed on both sides", entry.id);
        let document = RejectedDocument { id: entry.id.clone(), mine: entry.mine, copy_row: false };
        self.reject(client, ErrorCode::Conflict, message, vec![document]);
        self.write_row(&entry.id, entry.theirs);
    }

    /// Puts a conflict on the list of those that wait for the resolver.
    pub(super) fn add_unresolved(&mut self, client: &Client, entry: Unresolved) {
        let unresolved = self.after.unresolved.get_or_insert_with(|| client.unresolved.clone());
        self.after.asked_again.push(entry.id.clone());
        unresolved.insert(entry.id.clone(), entry);
    }

    /// Takes a conflict off the list.
    pub(super) fn remove_unresolved(&mut self, client: &Client, id: &DocumentId) {
        self.after.unresolved.get_or_insert_with(|| client.unresolved.clone()).remove(id);
    }
}

/// `None` when the text is no valid document; otherwise the value, absent for no text.
#[expect(clippy::option_option, reason = "an absent document is not an unreadable one")]
pub(super) fn parsed(text: Option<&[u8]>) -> Option<Option<Value>> {
    match text {
        None => Some(None),
        Some(text) => json::parse(text).ok().map(Some),
    }
}

/// Whether two texts mean the same document.
pub(super) fn same_content(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a == b || matches!((version::of_body(a), version::of_body(b)), (Ok(a), Ok(b)) if a == b),
        _ => false,
    }
}
