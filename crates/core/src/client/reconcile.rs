//! From what the client has to a cursor, when changes cannot follow from the one it has (`docs/protocol.md` section 8).
//!
//! What the client has is listed a few shadow pages at a time: 8 bytes for each document. Then the server's symbols tell what differs,
//! or, where that is shorter, the list itself goes to the server, which answers with a snapshot.

use alloc::sync::Arc;

use super::connection::SUBSCRIPTION;
use super::shadow::shadow_versions;
use super::storage::{PageId, Read, ReadResult, Row};
use super::task::Next;
use super::{Client, Inbound};
use crate::ids::{ChangelogId, Version};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::reconcile::{Checker, SYMBOLS_MAX, Sketch, Symbol, decode, estimate, subtract, symbols_from_bytes};
use crate::version::{self, ItemHasher};
use crate::wire::{self, ClientFrame, Difference, MoreSymbols, Packed, Symbols, encode};

/// Shadow pages that one task reads.
const LIST_PAGES: usize = 64;
/// Rows that one task reads.
const LIST_ROWS: u32 = 1_000;
/// Up to so many documents the list is not longer than the fewest symbols.
const LISTED_MAX: usize = 4;
/// Fewest symbols that are asked for.
const SYMBOLS_MIN: u32 = 8;
/// So many are asked for of a node that may lag, before it is given a list.
const SYMBOLS_ELSEWHERE_MIN: u64 = 64;
/// Most symbols that the server sends at first: enough for 200 items, a hundred changed documents, and 4 KB.
const SYMBOLS_FIRST: u32 = 320;

/// A client without a usable cursor on its way to one.
#[derive(Debug)]
pub(super) struct Reconcile {
    round: u64,
    changelog: ChangelogId,
    begun: bool,
    /// The pages to list.
    pages: Vec<PageId>,
    /// For each page that is listed, where its items begin.
    starts: Vec<usize>,
    /// Item hashes, page by page, then those of rows that no page has.
    items: Vec<u64>,
    /// The first symbols of the items.
    sketch: Sketch,
    /// Collections whose rows are to be listed as well: they were there before Tidelock.
    scans: Vec<String>,
    /// Where the scan of the last of them stands.
    after: Option<String>,
    /// Their documents that are listed already.
    confirmed: OrderedMap<String, OrderedSet<String>>,
    /// Whether only the list will do: equal rows are to be confirmed one by one, or a snapshot is resumed.
    lists: bool,
    /// Whether the node may not have heard of what the client has from another one: before it answers a list it goes through its whole
    /// store, so that symbols are worth more than they cost.
    elsewhere: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Listing,
    /// Symbols are on their way: this many were asked for.
    Receiving(Vec<Symbol>, u32),
    Locating(Sought),
    /// The server has the difference.
    Asked,
}

/// Documents that are looked for in their pages.
#[derive(Debug)]
struct Sought {
    lacks: Vec<u64>,
    /// Items that only the client has, sorted.
    items: Arc<[u64]>,
    /// Pages that hold them, by their numbers in the listing, the last first.
    pages: Vec<usize>,
    /// What was found: (number of the collection, key), encoded.
    found: Vec<Vec<u8>>,
}

impl Reconcile {
    fn new(client: &Client, resumes: bool, elsewhere: bool) -> Self {
        Self {
            round: client.reconciliations,
            changelog: client.changelog,
            begun: false,
            pages: Vec::new(),
            starts: Vec::new(),
            items: Vec::new(),
            sketch: Sketch::new(Checker::new(client.changelog), SYMBOLS_FIRST),
            scans: Vec::new(),
            after: None,
            confirmed: OrderedMap::new(),
            lists: resumes,
            elsewhere,
            stage: Stage::Listing,
        }
    }

    /// Says what is to be listed. From here on nothing is pushed and nothing applied until the difference is known: the shadow stays.
    fn begin(&mut self, client: &Client) {
        let offered = |page: &PageId| client.policies.contains_key(&page.collection);
        let synced = |page: &PageId| client.config.collections.contains(&page.collection);
        let adopting = |collection: &&String| client.mirror.adopting(collection);
        self.begun = true;
        self.pages = client.directory.pages().into_iter().filter(synced).collect();
        self.scans = client.config.collections.iter().filter(adopting).cloned().collect();
        // Documents of a collection that is not offered any more have no number: a snapshot tells that they are gone.
        self.lists |= !self.scans.is_empty() || !self.pages.iter().all(offered);
    }

    pub(super) fn round(&self) -> u64 {
        self.round
    }

    fn add(&mut self, item: u64) {
        self.items.push(item);
        self.sketch.add(item);
    }

    /// Symbols beyond which the list is shorter: it costs 8 bytes a document, and 25 of a snapshot for each one that is equal. Elsewhere
    /// as many as sets take that have nothing in common.
    fn symbols_max(&self, documents: u64) -> u32 {
        let items = self.items.len() as u64;
        let both = items.saturating_add(documents).saturating_mul(2).max(SYMBOLS_ELSEWHERE_MIN);
        let most = if self.elsewhere { both } else { items };
        u32::try_from(most).unwrap_or(u32::MAX).clamp(SYMBOLS_MIN, SYMBOLS_MAX)
    }

    /// Numbers of the pages that hold these items (sorted), the last first; `None` when one of them is in no page.
    fn pages_of(&self, sought: &[u64]) -> Option<Vec<usize>> {
        let mut pages = OrderedSet::new();
        let mut found = 0;
        for (at, item) in self.items.iter().enumerate() {
            if sought.binary_search(item).is_ok() {
                found += 1;
                pages.insert(self.starts.partition_point(|start| *start <= at).checked_sub(1)?);
            }
        }
        let mut pages: Vec<usize> = pages.into_iter().collect();
        pages.reverse();
        (found == sought.len()).then_some(pages)
    }
}

impl Client {
    /// Subscribes, once it is known what to say. `anew`: the cursor is of no use.
    pub(super) fn begin_subscription(&mut self, anew: bool) {
        let stood_here = self.position.cursor.as_ref().is_some_and(|cursor| cursor.changelog == self.changelog);
        let elsewhere = !stood_here && self.position.restoring.is_none();
        if anew {
            // What was sent and is not applied is among what differs.
            let dropped: usize = self.inbound.drain(..).map(|inbound| Inbound::wire_bytes(&inbound)).sum();
            self.give_credit(dropped);
            self.position.cursor = None;
            self.position.channels.clear();
        }
        self.reconcile = None;
        let resumes = self.position.cursor.as_ref().map(|cursor| cursor.snapshot.is_some());
        if resumes == Some(false) || self.nothing_local() {
            return self.subscribe(Vec::new(), None);
        }
        if planted::has(Bug::EverythingAgain) {
            return self.subscribe(Vec::new(), None);
        }
        self.reconciliations += 1;
        self.connection.list();
        self.reconcile = Some(Reconcile::new(self, resumes.is_some(), elsewhere));
    }

    /// Whether the client has no document at all: then there is nothing to list.
    pub(super) fn nothing_local(&self) -> bool {
        self.directory.pages().is_empty() && self.mirror.adoptions().is_empty()
    }

    /// The server cannot go on from where this client stands.
    pub(super) fn handle_restart(&mut self) {
        self.caught_up = false;
        self.begin_subscription(true);
    }

    /// Whether the difference is not known yet. Until then nothing is pushed, and change frames are those of a subscription that the
    /// client has replaced: the shadow is to stay as it was listed.
    pub(super) fn finds_difference(&self) -> bool {
        self.reconcile.as_ref().is_some_and(|running| !matches!(running.stage, Stage::Asked))
    }

    /// Whether a frame belongs to the reconciliation that runs.
    pub(super) fn reconciles(&self, round: u64) -> bool {
        self.reconcile.as_ref().is_some_and(|running| running.round == round && matches!(running.stage, Stage::Asked))
    }

    /// Everything that the client has is listed.
    fn listed(&mut self) {
        let Some(running) = &mut self.reconcile else { return };
        if running.lists || (running.items.len() <= LISTED_MAX && !running.elsewhere) {
            return self.subscribe_with_list();
        }
        let symbols = u32::try_from(running.items.len()).unwrap_or(u32::MAX).clamp(SYMBOLS_MIN, SYMBOLS_FIRST);
        running.stage = Stage::Receiving(Vec::new(), symbols);
        let round = running.round;
        // A frame that was applied meanwhile may have moved it.
        self.position.cursor = None;
        self.position.channels.clear();
        self.subscribe(Vec::new(), Some((round, symbols)));
    }

    /// Subscribes for a snapshot that leaves out what the client has.
    fn subscribe_with_list(&mut self) {
        let Some(running) = self.reconcile.take() else { return };
        if self.position.cursor.as_ref().is_none_or(|cursor| cursor.snapshot.is_none()) {
            self.position.cursor = None;
            self.position.channels.clear();
        }
        let most = (self.limits.frame_bytes_max as usize / 2) / size_of::<u64>();
        let have = running.items.iter().take(most).flat_map(|item| item.to_be_bytes()).collect();
        self.subscribe(have, None);
    }

    /// Symbols cost no storage: they are looked at as they come.
    pub(super) fn handle_symbols(&mut self, frame: &Symbols, bytes: usize) {
        self.give_credit(bytes);
        let Some(running) = self.reconcile.as_mut().filter(|running| running.round == frame.round) else { return };
        let Stage::Receiving(symbols, asked) = &mut running.stage else { return };
        if frame.first == 0 {
            symbols.clear();
        }
        let fits = frame.first as usize == symbols.len();
        let Some(more) = symbols_from_bytes(&frame.symbols).filter(|_| fits) else {
            return self.protocol_error("symbols that do not follow those before");
        };
        symbols.extend(more);
        if symbols.len() > *asked as usize {
            return self.protocol_error("more symbols than were asked for");
        }
        if frame.last {
            self.decode_symbols(frame.documents);
        }
    }

    fn decode_symbols(&mut self, documents: u64) {
        let Some(running) = &mut self.reconcile else { return };
        let most = running.symbols_max(documents);
        let Stage::Receiving(symbols, asked) = &mut running.stage else { return };
        let checker = Checker::new(running.changelog);
        let length = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
        if length > SYMBOLS_FIRST {
            let mut longer = Sketch::new(checker, length);
            running.items.iter().for_each(|item| longer.add(*item));
            running.sketch = longer;
        }
        let rest = subtract(symbols, running.sketch.symbols());
        let items = i64::try_from(running.items.len()).unwrap_or(i64::MAX);
        let size = estimate(&rest, i64::try_from(documents).unwrap_or(i64::MAX).saturating_sub(items));
        if let Some(found) = decode(checker, rest) {
            return self.locate(found);
        }
        // 1.35 symbols for each item do, 1.75 make up for an estimate that is too low.
        let needed = size.saturating_mul(5) / 4;
        if length < *asked || length >= most || needed > u64::from(most) {
            return self.subscribe_with_list();
        }
        let wanted = u32::try_from(size.saturating_mul(7) / 4 + 64).unwrap_or(u32::MAX);
        *asked = wanted.max(length.saturating_mul(2)).min(most);
        let (round, until) = (running.round, *asked);
        self.send(&ClientFrame::MoreSymbols(MoreSymbols { subscription: SUBSCRIPTION, round, first: length, until }));
    }

    /// The difference is known: the items that only this client has get their names from their pages.
    fn locate(&mut self, found: crate::reconcile::Difference) {
        let Some(running) = &mut self.reconcile else { return };
        let items: Arc<[u64]> = crate::order::sorted_by(&found.ours, &|a, b| a < b).into_iter().copied().collect();
        let Some(pages) = running.pages_of(&items) else { return self.subscribe_with_list() };
        let nothing = pages.is_empty();
        running.stage = Stage::Locating(Sought { lacks: found.theirs, items, pages, found: Vec::new() });
        if nothing {
            self.ask();
        }
    }

    /// Tells the server what differs.
    fn ask(&mut self) {
        let Some(running) = &mut self.reconcile else { return };
        let round = running.round;
        let Stage::Locating(sought) = core::mem::replace(&mut running.stage, Stage::Asked) else { return };
        let room = self.limits.frame_bytes_max as usize / 2;
        let mut parts = vec![(Vec::new(), Vec::new())];
        let lacks = sought.lacks.iter().map(|item| (true, item.to_be_bytes().to_vec()));
        for (lacking, bytes) in lacks.chain(sought.found.into_iter().map(|item| (false, item))) {
            if parts.last().is_some_and(|(lacks, only)| lacks.len() + only.len() + bytes.len() > room) {
                parts.push((Vec::new(), Vec::new()));
            }
            if let Some((lacks, only)) = parts.last_mut() {
                if lacking { lacks } else { only }.extend(bytes);
            }
        }
        let last = parts.len().saturating_sub(1);
        for (index, (lacks, only)) in parts.into_iter().enumerate() {
            let (only, more) = (Packed(only), index < last);
            let difference = Difference { subscription: SUBSCRIPTION, round, lacks, only, more };
            self.send(&ClientFrame::Difference(difference));
        }
    }
}

/// The task that reads a few pages, or rows, for the list or for the names of documents.
#[derive(Debug)]
pub(super) struct List {
    round: u64,
    hasher: ItemHasher,
    reads: Vec<Read>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// The hashes of each page; the keys as well where rows are listed after them.
    Pages { pages: Vec<(PageId, bool)>, items: Vec<Vec<u64>>, keys: Vec<(String, String)> },
    /// Rows of a collection that are not among the keys.
    Rows { collection: String, rows: Vec<(String, Row)> },
    /// Documents by their items.
    Locate { pages: Vec<PageId>, count: usize, sought: Arc<[u64]>, found: Vec<(String, String)> },
}

impl List {
    /// What is to be read next.
    pub(super) fn next(client: &mut Client) -> Option<Self> {
        if client.reconcile.is_none() || client.pending.values().any(|pending| pending.sent) {
            return None;
        }
        if let Some(mut running) = client.reconcile.take_if(|running| !running.begun) {
            running.begin(client);
            let nothing = running.next_listing().is_none();
            client.reconcile = Some(running);
            if nothing {
                client.listed();
            }
        }
        let client = &*client;
        let running = client.reconcile.as_ref()?;
        let work = match &running.stage {
            Stage::Listing => running.next_listing()?,
            Stage::Locating(sought) => running.next_locating(sought, client)?,
            Stage::Receiving(..) | Stage::Asked => return None,
        };
        let reads = match &work {
            Work::Pages { pages, .. } => pages.iter().map(|(page, _)| Read::ShadowPage(page.clone())).collect(),
            Work::Locate { pages, .. } => pages.iter().map(|page| Read::ShadowPage(page.clone())).collect(),
            Work::Rows { collection, .. } => {
                vec![Read::Scan { collection: collection.clone(), after: running.after.clone(), limit: LIST_ROWS }]
            }
        };
        Some(Self { round: running.round, hasher: ItemHasher::new(running.changelog), reads, work })
    }

    pub(super) fn step(&mut self) -> Next {
        match core::mem::take(&mut self.reads) {
            reads if reads.is_empty() => Next::Done,
            reads => Next::Read(reads),
        }
    }

    pub(super) fn absorb(&mut self, results: Vec<ReadResult>) {
        let Self { hasher, work, .. } = self;
        match work {
            Work::Pages { pages, items, keys } => {
                for ((page, keeps_keys), result) in pages.iter().zip(results) {
                    let mut of_page = Vec::new();
                    each_document(&result, &mut |key, version| {
                        of_page.push(hasher.hash(&page.collection, key, version));
                        if *keeps_keys {
                            keys.push((page.collection.clone(), key.into()));
                        }
                    });
                    items.push(of_page);
                }
            }
            Work::Rows { rows, .. } => {
                if let Some(ReadResult::Scan(scanned)) = results.into_iter().next() {
                    *rows = scanned;
                }
            }
            Work::Locate { pages, sought, found, .. } => {
                for (page, result) in pages.iter().zip(results) {
                    each_document(&result, &mut |key, version| {
                        if sought.binary_search(&hasher.hash(&page.collection, key, version)).is_ok() {
                            found.push((page.collection.clone(), key.into()));
                        }
                    });
                }
            }
        }
    }

    /// The client takes over what was read, unless it has begun again since.
    pub(super) fn committed(self, client: &mut Client) {
        let Some(running) = client.reconcile.as_mut().filter(|running| running.round == self.round) else { return };
        match self.work {
            Work::Pages { items, keys, .. } => {
                for of_page in items {
                    running.starts.push(running.items.len());
                    for item in of_page {
                        running.add(item);
                    }
                }
                for (collection, key) in keys {
                    running.confirmed.or_default(collection).insert(key);
                }
            }
            Work::Rows { collection, rows } => running.add_rows(&self.hasher, &collection, &rows),
            Work::Locate { count, found, .. } => {
                let number = |name: &str| client.collections.iter().find(|info| info.name == name).map(|i| i.number);
                let named =
                    found.into_iter().filter_map(|(collection, key)| Some(encode(&(number(&collection)?, key))));
                if let Stage::Locating(sought) = &mut running.stage {
                    sought.found.extend(named);
                    sought.pages.truncate(sought.pages.len().saturating_sub(count));
                }
            }
        }
        let all_listed = running.next_listing().is_none();
        match &running.stage {
            Stage::Listing if all_listed => client.listed(),
            Stage::Locating(sought) if sought.pages.is_empty() => client.ask(),
            Stage::Listing | Stage::Locating(_) | Stage::Receiving(..) | Stage::Asked => {}
        }
    }
}

impl Reconcile {
    fn next_listing(&self) -> Option<Work> {
        let rest = self.pages.get(self.starts.len()..).unwrap_or_default();
        if !rest.is_empty() {
            let pages = rest.iter().take(LIST_PAGES).map(|page| (page.clone(), self.scans.contains(&page.collection)));
            return Some(Work::Pages { pages: pages.collect(), items: Vec::new(), keys: Vec::new() });
        }
        let collection = self.scans.last()?.clone();
        Some(Work::Rows { collection, rows: Vec::new() })
    }

    /// A page of the listing may have been cut since: all that now cover its keys are read.
    fn next_locating(&self, sought: &Sought, client: &Client) -> Option<Work> {
        let numbers: Vec<usize> = sought.pages.iter().rev().take(LIST_PAGES).copied().collect();
        let mut pages = OrderedSet::new();
        for number in &numbers {
            let page = self.pages.get(*number)?;
            let next = self.pages.get(number + 1).filter(|next| next.collection == page.collection);
            let through = next.map(|next| next.first.as_str());
            let now = client.directory.pages_between(&page.collection, Some(&page.first), through);
            pages.extend(now.into_iter().filter(|now| through.is_none_or(|through| now.first.as_str() < through)));
        }
        let (count, items) = (numbers.len(), Arc::clone(&sought.items));
        (count > 0).then(|| Work::Locate {
            pages: pages.into_iter().collect(),
            count,
            sought: items,
            found: Vec::new(),
        })
    }

    fn add_rows(&mut self, hasher: &ItemHasher, collection: &str, rows: &[(String, Row)]) {
        if rows.len() < LIST_ROWS as usize {
            self.scans.pop();
            self.after = None;
        } else {
            self.after = rows.last().map(|(key, _)| key.clone());
        }
        for (key, row) in rows {
            let Row::Json(text) = row else { continue };
            if self.confirmed.get(collection).is_some_and(|known| known.contains(key)) {
                continue;
            }
            if let Ok(version) = version::of_body(text) {
                self.add(hasher.hash(collection, key, version));
            }
        }
    }
}

/// A page that cannot be read counts as empty: its documents come again.
fn each_document(result: &ReadResult, act: &mut dyn FnMut(&str, Version)) {
    if let ReadResult::ShadowPage(Some(bytes)) = result {
        let _damaged: Result<(), wire::WireError> = shadow_versions(bytes, act);
    }
}
