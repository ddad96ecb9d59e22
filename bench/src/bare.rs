//! A bare loop on SQLite that writes what the server writes for the same commits, without any check.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::client::{Made, identity};
use crate::rows::COLLECTION;

const UPDATE: &str = "UPDATE documents SET \"offset\" = ?3, version = ?4, edited_ms = ?5, session = ?6, channels = NULL, \
                      departed = NULL, body = ?7 WHERE collection = ?1 AND key = ?2";
const FORGET: &str = "DELETE FROM outcomes WHERE client = ?1 AND incarnation = 1 AND sequence <= ?2";
const RECORD: &str = "INSERT OR REPLACE INTO outcomes (client, incarnation, sequence, \"offset\", at_ms, outcome) \
                      VALUES (?1, 1, ?2, ?3, 1, ?4)";

/// The loop, with what it counts from run to run.
pub(crate) struct Bare {
    connection: Connection,
    offset: i64,
    sequence: i64,
}

impl Bare {
    /// Opens a copy of the server's database with the server's durability.
    pub(crate) fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; \
                 PRAGMA cache_size = -32768",
            )
            .unwrap();
        Self { connection, offset: 1 << 40, sequence: 1 << 20 }
    }

    /// Makes the commits of several clients; those that come first, second and so on share one transaction each.
    pub(crate) fn run(&mut self, clients: &[Vec<Made>]) {
        let mut clients: Vec<_> = clients.iter().map(|made| made.iter()).collect();
        loop {
            let turn: Vec<&Made> = clients.iter_mut().filter_map(Iterator::next).collect();
            if turn.is_empty() {
                return;
            }
            self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            self.sequence += 1;
            for (client, made) in (0..).zip(turn) {
                self.write(client, made);
            }
            self.connection.execute_batch("COMMIT").unwrap();
        }
    }

    fn write(&mut self, client: u64, made: &Made) {
        self.offset += 1;
        let text = std::str::from_utf8(&made.body).unwrap();
        let row = params![COLLECTION, made.key, self.offset, self.offset, 1, 1, text];
        let written = self.connection.prepare_cached(UPDATE).unwrap().execute(row).unwrap();
        assert_eq!(written, 1, "the document exists");
        let id = identity(client).0;
        self.connection.prepare_cached(FORGET).unwrap().execute(params![id, self.sequence - 1]).unwrap();
        let outcome = [0x82_u8, 0, 0x80];
        let record = params![id, self.sequence, self.offset, outcome];
        self.connection.prepare_cached(RECORD).unwrap().execute(record).unwrap();
    }
}
