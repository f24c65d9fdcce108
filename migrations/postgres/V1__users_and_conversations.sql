-- Users, their secrets, conversations and messages. The number equals the one in ../sqlite.
-- Migrations only add: a node of the version before goes on working beside the new one.
-- Ids are 16 octets, most significant first, so that their order is the order of the numbers.
-- Texts that are ids compare octet by octet (COLLATE "C"). Times are milliseconds since 1970. Truth values are 0 and 1.

CREATE TABLE meta (
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- kind: 0 a visitor, 1 the holder of an account. taken_at stays when he becomes firm.
CREATE TABLE users (
    user_id text COLLATE "C" PRIMARY KEY,
    kind bigint NOT NULL,
    is_loose bigint NOT NULL,
    taken_at bigint,
    name text NOT NULL,
    client_identifier text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    last_seen bigint NOT NULL
);

CREATE INDEX users_loose ON users (client_identifier, last_seen) WHERE is_loose = 1;
CREATE INDEX users_idle ON users (last_seen) WHERE kind = 0;

-- token: SHA-256 of the secret; the secret itself is stored nowhere.
CREATE TABLE visitor_tokens (
    token bytea PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at bigint NOT NULL
);

CREATE INDEX visitor_tokens_user ON visitor_tokens (user_id);
CREATE INDEX visitor_tokens_expiry ON visitor_tokens (expires_at);

-- head: the highest seq. changed: the id of the transaction that last moved it. No index on
-- either, so that moving a head rewrites one heap row and no index.
CREATE TABLE conversations (
    room bytea PRIMARY KEY,
    head bigint NOT NULL,
    epoch bigint NOT NULL,
    changed bigint NOT NULL
);

-- wrote_at: when the member last wrote there, if ever.
CREATE TABLE members (
    user_id text COLLATE "C" NOT NULL,
    room bytea NOT NULL REFERENCES conversations ON DELETE CASCADE,
    wrote_at bigint,
    PRIMARY KEY (user_id, room)
);

CREATE INDEX members_room ON members (room);

CREATE TABLE messages (
    room bytea NOT NULL REFERENCES conversations ON DELETE CASCADE,
    seq bigint NOT NULL,
    id bytea NOT NULL,
    from_user text COLLATE "C" NOT NULL,
    from_name text NOT NULL,
    to_user text COLLATE "C" NOT NULL,
    client_id text COLLATE "C",
    text text NOT NULL,
    accepted_at bigint NOT NULL,
    expires_at bigint,
    PRIMARY KEY (room, seq)
);

CREATE INDEX messages_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL;

-- By what a repetition is recognised. A table of its own, so that messages may be cut into
-- partitions one day while the keys stay unique.
CREATE TABLE message_keys (
    room bytea NOT NULL REFERENCES conversations ON DELETE CASCADE,
    sender text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (room, sender, client_id)
);
