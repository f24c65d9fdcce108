-- Users, their secrets, conversations and messages. The number equals the one in ../postgres.
-- Migrations only add: a node of the version before goes on working beside the new one.
-- Ids are 16 octets, most significant first, so that their order is the order of the numbers.
-- Times are milliseconds since 1970. Truth values are 0 and 1.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- kind: 0 a visitor, 1 the holder of an account. taken_at stays when he becomes firm.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    kind INTEGER NOT NULL,
    is_loose INTEGER NOT NULL,
    taken_at INTEGER,
    name TEXT NOT NULL,
    client_identifier TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX users_loose ON users (client_identifier, last_seen) WHERE is_loose = 1;
CREATE INDEX users_idle ON users (last_seen) WHERE kind = 0;

-- token: SHA-256 of the secret; the secret itself is stored nowhere.
CREATE TABLE visitor_tokens (
    token BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX visitor_tokens_user ON visitor_tokens (user_id);
CREATE INDEX visitor_tokens_expiry ON visitor_tokens (expires_at);

-- head: the highest seq. changed: the position of the commit that last moved it.
CREATE TABLE conversations (
    room BLOB PRIMARY KEY,
    head INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- wrote_at: when the member last wrote there, if ever.
CREATE TABLE members (
    user_id TEXT NOT NULL,
    room BLOB NOT NULL REFERENCES conversations ON DELETE CASCADE,
    wrote_at INTEGER,
    PRIMARY KEY (user_id, room)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_room ON members (room);

CREATE TABLE messages (
    room BLOB NOT NULL REFERENCES conversations ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    from_user TEXT NOT NULL,
    from_name TEXT NOT NULL,
    to_user TEXT NOT NULL,
    client_id TEXT,
    text TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX messages_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL;

-- By what a repetition is recognised. A table of its own, so that messages may be cut into
-- partitions one day while the keys stay unique.
CREATE TABLE message_keys (
    room BLOB NOT NULL REFERENCES conversations ON DELETE CASCADE,
    sender TEXT NOT NULL,
    client_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (room, sender, client_id)
) STRICT, WITHOUT ROWID;
