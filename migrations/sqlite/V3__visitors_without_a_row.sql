-- Visitors exist by their secret alone; a row is written with the first thing that must be kept. The
-- number equals the one in ../postgres. Migrations only add.

-- is_kept: 0 while nothing depends on the visitor but the end of an older secret, or that a secret was
-- presented back. Such a row goes an hour after the visitor was last seen.
ALTER TABLE users ADD COLUMN is_kept INTEGER NOT NULL DEFAULT 1;

CREATE INDEX users_unkept ON users (last_seen) WHERE is_kept = 0;

-- Addresses that no secret opens any more although they have no row: their users asked to be erased.
CREATE TABLE ended_visitors (
    user_id TEXT PRIMARY KEY,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX ended_visitors_end ON ended_visitors (ends_at);
