//! Writers of the platform that know nothing of the servers.

use serde_json::{Value, json};
use tidelock_core::ids::DocumentId;

use crate::random::Random;
use crate::rules::policies;
use crate::workload::{KEYS, LEDGER, REGISTERS, ROOM_NAMES, ROOMS, TALLIES};
use crate::world::{Event, World};

impl World {
    /// A foreign writer changes a document, or reads one that it stores later whatever happens meanwhile.
    pub(crate) fn foreign(&mut self) {
        if !self.site.has_foreign_writers() {
            return;
        }
        let is_left = |name: &&String| *name != REGISTERS && *name != TALLIES;
        let collections: Vec<&String> = policies().keys().filter(is_left).collect();
        let collection = self.random.pick(&collections).map_or("", |name| name.as_str());
        let key = self.random.pick(&KEYS).copied().unwrap_or_default();
        let id = DocumentId::new(collection, key);
        if collection != LEDGER && self.random.chance(250) {
            return self.foreign_store(&id, None);
        }
        let read = self.site.foreign_read(&id).and_then(|body| serde_json::from_slice(&body).ok());
        let mut document = read.filter(Value::is_object).unwrap_or_else(|| json!({}));
        if collection == LEDGER {
            self.ledger.count_foreign(key, &mut document, &mut self.random);
        } else {
            scribble(collection, &mut document, &mut self.random);
        }
        let body = document.to_string().into_bytes();
        if collection != LEDGER && self.random.chance(300) {
            let delay = self.random.below(2_000);
            return self.schedule(delay, Event::ForeignStore(id, body));
        }
        self.foreign_store(&id, Some(&body));
    }

    pub(crate) fn foreign_store(&mut self, id: &DocumentId, json: Option<&[u8]>) {
        if self.healed {
            return;
        }
        let done = self.site.foreign_write(id, json);
        let text = json.map_or("delete".into(), |json| String::from_utf8_lossy(json).into_owned());
        self.note(|| format!("foreign {id} {text} {}", if done { "done" } else { "refused" }));
    }
}

fn scribble(collection: &str, document: &mut Value, random: &mut Random) {
    let Some(members) = document.as_object_mut() else { return };
    members.insert("foreign".into(), json!(random.below(100)));
    if collection == ROOMS {
        members.insert("room".into(), json!(random.pick(&ROOM_NAMES)));
    }
}
