//! Rows that are not what the shadow says: those that the application's store refused, and those of a store that was emptied beside the
//! capture. They are put back from the shadow, and never taken for deletes.

use super::state::QUARANTINE;
use super::storage::{Read, RefusedRow, RejectedDocument, Row, WriteOp};
use super::task::Next;
use super::work::Desk;
use super::{Client, Event};
use crate::ids::DocumentId;
use crate::ordered::{OrderedMap, OrderedSet};
use crate::prelude::*;
use crate::wire::{ErrorCode, encode};

/// Most refused rows that are listed.
const QUARANTINE_MAX: usize = 10_000;

/// The task that puts rows back.
#[derive(Debug, Default)]
pub(super) struct Mend {
    /// The store that was found empty; `None` for the rows that were refused.
    emptied: Option<String>,
    stage: u8,
}

/// Refused rows that may be taken now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Retry {
    #[default]
    No,
    /// The list is to be stored, and nothing else.
    Note,
    /// They are to be written again.
    Due,
}

impl Client {
    /// Rows that the application's store refused: collection, key in platform form, the store's words.
    pub fn quarantine(&self) -> impl Iterator<Item = (&DocumentId, &str)> {
        self.quarantine.iter().map(|(id, reason)| (id, reason.as_str()))
    }

    /// These rows were written and not taken; `rebased` are those of the task that had unsent changes, as they were; `retried` tells
    /// that the task wrote what had been refused before.
    pub(super) fn refuse(
        &mut self,
        refused: Vec<RefusedRow>,
        mut rebased: OrderedMap<DocumentId, Option<Vec<u8>>>,
        retried: bool,
    ) {
        for RefusedRow { id, reason } in refused {
            if let Some(mine) = rebased.remove(&id) {
                self.refused_edits.push((id.clone(), mine));
            }
            if !retried {
                let message = format!("{id} cannot be stored: {reason}");
                self.event(Event::Problem { code: "row-refused", message, retryable: false });
            }
            if self.quarantine.len() < QUARANTINE_MAX {
                self.quarantine.insert(id, reason);
            }
            // What stood in its way may have gone by a later write of the same task: two rows that exchange a value.
            self.retry = self.retry.max(if retried { Retry::Note } else { Retry::Due });
        }
    }

    /// Whether the row's absence says nothing about what the user wants.
    pub(super) fn is_refused(&self, id: &DocumentId, row: &Row) -> bool {
        *row == Row::Absent && self.quarantine.contains_key(id)
    }

    /// What is to be put back.
    pub(super) fn next_mend(&mut self) -> Option<Mend> {
        let emptied = self.emptied.pop();
        let due = emptied.is_some() || self.retry != Retry::No;
        due.then_some(Mend { emptied, stage: 0 })
    }
}

impl Mend {
    pub(super) fn step(&mut self, client: &Client, desk: &mut Desk) -> Next {
        self.stage += 1;
        match (self.stage, &self.emptied) {
            (1, Some(collection)) => Next::Read(desk.want(client.directory.pages_between(collection, None, None), [])),
            (1, None) if client.retry == Retry::Due => {
                let pages: Vec<_> =
                    client.quarantine.keys().map(|id| client.directory.page_of(&id.collection, &id.key)).collect();
                Next::Read(desk.want(pages, client.quarantine.keys().cloned()))
            }
            (2, Some(collection)) => Next::Read(dirty(collection, client, desk)),
            _ => {
                self.write(client, desk);
                if self.emptied.is_none() {
                    list_edits(client, desk);
                }
                let list: Vec<(DocumentId, String)> =
                    client.quarantine.iter().map(|(id, reason)| (id.clone(), reason.clone())).collect();
                desk.writes.push(WriteOp::StatePut(QUARANTINE, encode(&list)));
                Next::Done
            }
        }
    }

    fn write(&self, client: &Client, desk: &mut Desk) {
        let missing: Vec<DocumentId> = match &self.emptied {
            None if client.retry == Retry::Due => client.quarantine.keys().cloned().collect(),
            None => return,
            Some(collection) => {
                let pending: OrderedSet<&DocumentId> = client.pending_ids().collect();
                let ids = desk.pages.documents(collection).map(|(key, ..)| DocumentId::new(collection.as_str(), key));
                let deleted = |id: &DocumentId| pending.contains(id) || client.mirror.ranged(id);
                let ids: Vec<DocumentId> = ids.filter(|id| !deleted(id)).collect();
                // An application that deleted them all has marked each of them.
                if ids.iter().all(|id| client.mirror.may_be_dirty(id)) {
                    return;
                }
                ids
            }
        };
        for id in missing.into_iter().filter(|id| *desk.row(id) == Row::Absent).collect::<Vec<_>>() {
            let body = desk.pages.confirmed(&id).map(|(_, body)| body.to_vec());
            if body.is_some() {
                desk.write_row(&id, body);
            }
        }
    }

    pub(super) fn committed(&self, client: &mut Client) {
        if self.emptied.is_none() {
            client.retry = Retry::No;
            client.refused_edits.clear();
        }
    }

    pub(super) fn failed(self, client: &mut Client) {
        client.emptied.extend(self.emptied);
    }
}

/// The user's unsent changes in refused rows: the rows are gone, so that these are kept where rejected changes are.
fn list_edits(client: &Client, desk: &mut Desk) {
    for (id, mine) in &client.refused_edits {
        let message = format!("{id} was changed on the server, and cannot be stored with your changes");
        let document = RejectedDocument { id: id.clone(), mine: mine.clone(), copy_row: false };
        desk.reject(client, ErrorCode::InvalidDocument, message, vec![document]);
    }
}

/// Rows that the application may have written since.
fn dirty(collection: &str, client: &Client, desk: &mut Desk) -> Vec<Read> {
    let ids: Vec<DocumentId> =
        desk.pages.documents(collection).map(|(key, ..)| DocumentId::new(collection, key)).collect();
    desk.want([], ids.into_iter().filter(|id| client.mirror.may_be_dirty(id)))
}
