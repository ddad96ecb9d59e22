//! Documents that a reconciling client asks for: as the store has them, with the channels that the rules give them now.

use tidelock_core::ids::{SessionId, Version};
use tidelock_core::json;
use tidelock_core::server::{ChangeRecord, DocumentPage, Refusal, Sought};
use tidelock_store::StoreError;

use crate::database::{Database, store_refusal};

/// Reads them. The session decides what of them the client may learn.
pub(crate) async fn load(database: &Database, sought: Sought) -> Result<DocumentPage, Refusal> {
    read(database, sought).await.map_err(|error| store_refusal(&error))
}

async fn read(database: &Database, sought: Sought) -> Result<DocumentPage, StoreError> {
    let ids = match sought {
        Sought::Items(items) => database.changelog.items(&items).await?,
        Sought::Named(ids) => ids,
    };
    let set = database.store.read(&ids).await?;
    let rules = database.rules();
    let records = ids.into_iter().zip(set.documents).map(|(id, document)| {
        let rules = rules.collection(&id.collection);
        let value = document.as_ref().and_then(|document| json::parse(&document.body).ok());
        let channels = rules.zip(value.as_ref()).map(|(rules, value)| rules.channels(&id.key, value));
        let (version, body) = document.map_or((Version::ABSENT, None), |found| (found.version, Some(found.body)));
        ChangeRecord {
            offset: set.offset,
            id,
            version,
            body,
            channels: channels.unwrap_or_default(),
            left: Vec::new(),
            session: SessionId(0),
        }
    });
    Ok(DocumentPage { records: records.collect() })
}
