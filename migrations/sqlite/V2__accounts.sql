-- Accounts, sign-ins, bans, and what else is kept for them. The number equals the one in ../postgres.
-- Migrations only add: a node of the version before goes on working beside the new one.
-- Tokens are SHA-256 of what their holder keeps. Times are milliseconds since 1970.

-- An account of a user, whose kind is 1 then. email_key: the e-mail in lower case. password: a PHC
-- string. role: member, bot, admin. upgraded_by: the sign-in by which a visitor became its holder.
CREATE TABLE accounts (
    user_id TEXT PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,
    role TEXT NOT NULL,
    dm_policy TEXT NOT NULL,
    upgraded_by TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A sign-in on a device; it has ended when its row is gone.
CREATE TABLE sign_ins (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    device TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_ins_user ON sign_ins (user_id);
CREATE INDEX sign_ins_idle ON sign_ins (last_seen);

-- Refresh tokens of a sign-in, the used ones too, by which a second use is found out. successor: what
-- it was exchanged for, at used_at.
CREATE TABLE refresh_tokens (
    token BLOB PRIMARY KEY,
    sign_in TEXT NOT NULL REFERENCES sign_ins ON DELETE CASCADE,
    successor BLOB,
    used_at INTEGER,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX refresh_tokens_sign_in ON refresh_tokens (sign_in);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

-- purpose: 0 a new password, 1 a visitor's way to another browser.
CREATE TABLE once_tokens (
    token BLOB PRIMARY KEY,
    purpose INTEGER NOT NULL,
    user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX once_tokens_user ON once_tokens (user_id);
CREATE INDEX once_tokens_expiry ON once_tokens (expires_at);

-- Whom an address stands for since its holder became a part of an account. since: what was written
-- there before was never his. No reference: the old address has no user any more.
CREATE TABLE aliases (
    old_id TEXT PRIMARY KEY,
    new_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    merged_at INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_new ON aliases (new_id);

-- The secrets of visitors who became a part of an account.
CREATE TABLE moved_tokens (
    token BLOB PRIMARY KEY,
    old_id TEXT NOT NULL,
    new_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    moved_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX moved_tokens_new ON moved_tokens (new_id);

-- kind: user, client, network. act: ban, mute. No reference: a ban outlives its subject.
CREATE TABLE bans (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    act TEXT NOT NULL,
    ends_at INTEGER,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, act)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id BLOB PRIMARY KEY,
    noted_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests with an idempotency key. status is NULL while one is being done.
CREATE TABLE keyed_requests (
    request_key BLOB PRIMARY KEY,
    request BLOB NOT NULL,
    status INTEGER,
    answer BLOB,
    begun_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keyed_requests_expiry ON keyed_requests (expires_at);
