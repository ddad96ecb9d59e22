-- Documents whose content a client offered after the store was set back, until their tombstones are forgotten.
CREATE TABLE offered (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;

-- Each opening of the database begins a history: `until` is the head when the next one began, NULL for the present one.
CREATE TABLE histories (
    number INTEGER PRIMARY KEY,
    history INTEGER NOT NULL,
    until INTEGER
);
