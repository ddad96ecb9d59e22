//! A bare loop on SQLite that writes what the server writes for the same commits, without any check.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::client::identity;
use crate::rows::{COLLECTION, DOCUMENTS, body, key, splitmix};

const UPDATE: &str = "UPDATE documents SET \"offset\" = ?3, version = ?4, edited_ms = ?5, session = ?6, channels = NULL, \
                      departed = NULL, body = ?7 WHERE collection = ?1 AND key = ?2";
const FORGET: &str = "DELETE FROM outcomes WHERE client = ?1 AND incarnation = 1 AND sequence <= ?2";
const RECORD: &str = "INSERT OR REPLACE INTO outcomes (client, incarnation, sequence, \"offset\", at_ms, outcome) \
                      VALUES (?1, 1, ?2, ?3, 1, ?4)";

/// The loop, with what it counts from run to run.
pub(crate) struct Bare {
    connection: Connection,
    random: u64,
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
        Self { connection, random: 1, offset: 1 << 40, sequence: 1 << 20 }
    }

    /// Commits per second of `clients` writers whose commits share one transaction each time.
    pub(crate) fn rate(&mut self, clients: u64, time: Duration) -> f64 {
        let begin = Instant::now();
        let mut commits = 0_u32;
        while begin.elapsed() < time {
            self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            self.sequence += 1;
            for client in 0..clients {
                self.write(client);
                commits += 1;
            }
            self.connection.execute_batch("COMMIT").unwrap();
        }
        f64::from(commits) / begin.elapsed().as_secs_f64()
    }

    fn write(&mut self, client: u64) {
        self.offset += 1;
        let number = splitmix(&mut self.random) % DOCUMENTS;
        let text = body(number, self.offset.cast_unsigned());
        let written = self
            .connection
            .prepare_cached(UPDATE)
            .unwrap()
            .execute(params![COLLECTION, key(number), self.offset, self.offset, 1, 1, text])
            .unwrap();
        assert_eq!(written, 1, "the document exists");
        let id = identity(client).0;
        self.connection.prepare_cached(FORGET).unwrap().execute(params![id, self.sequence - 1]).unwrap();
        let outcome = [0x82_u8, 0, 0x80];
        let record = params![id, self.sequence, self.offset, outcome];
        self.connection.prepare_cached(RECORD).unwrap().execute(record).unwrap();
    }
}
