-- Identities and marks of the database: epoch, changelog, head, floor, drawn.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- The latest state of each document: the document store and the compacted changelog in one.
-- A tombstone has no body, and the channels that the document had. 64-bit identifiers are stored as the signed integer of the
-- same bits. `channels` and `departed` (channels that it left) are JSON arrays of strings, NULL when empty. `body` stays last:
-- reading the other columns of a large document then touches one page.
CREATE TABLE documents (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    edited_ms INTEGER NOT NULL,
    session INTEGER NOT NULL,
    channels TEXT,
    departed TEXT,
    body TEXT,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;

CREATE INDEX documents_offset ON documents ("offset");

-- What a purge visits.
CREATE INDEX documents_purgeable ON documents ("offset") WHERE (body IS NULL OR departed IS NOT NULL);

-- The documents of a channel: one row for each channel in `channels` or `departed`.
CREATE TABLE channel_index (
    channel TEXT NOT NULL,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (channel, collection, key)
) WITHOUT ROWID;

-- Finished mutations. The last of an incarnation is never removed: its sequence is the client record.
-- `outcome` is encoded as on the wire (CBOR).
CREATE TABLE outcomes (
    client BLOB NOT NULL,
    incarnation INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    outcome BLOB NOT NULL,
    PRIMARY KEY (client, incarnation, sequence)
) WITHOUT ROWID;

-- Values that merges discarded. Values are JSON text; `path` and `channels` are JSON arrays of strings.
CREATE TABLE conflicts (
    number INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    client BLOB,
    incarnation INTEGER,
    sequence INTEGER,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    path TEXT,
    strategy TEXT NOT NULL,
    base TEXT,
    mine TEXT,
    theirs TEXT,
    outcome TEXT,
    channels TEXT
);

CREATE INDEX conflicts_document ON conflicts (collection, key, number);
