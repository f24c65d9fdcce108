-- Accounts, sign-ins, bans, and what else is kept for them. The number equals the one in ../sqlite.
-- Migrations only add: a node of the version before goes on working beside the new one.
-- Tokens are SHA-256 of what their holder keeps. Times are milliseconds since 1970.

-- An account of a user, whose kind is 1 then. email_key: the e-mail in lower case. password: a PHC
-- string. role: member, bot, admin. upgraded_by: the sign-in by which a visitor became its holder.
CREATE TABLE accounts (
    user_id text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    email text NOT NULL,
    email_key text COLLATE "C" NOT NULL UNIQUE,
    password text NOT NULL,
    role text COLLATE "C" NOT NULL,
    dm_policy text COLLATE "C" NOT NULL,
    upgraded_by text COLLATE "C",
    created_at bigint NOT NULL
);

-- A sign-in on a device; it has ended when its row is gone.
CREATE TABLE sign_ins (
    id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    device text NOT NULL,
    created_at bigint NOT NULL,
    last_seen bigint NOT NULL
);

CREATE INDEX sign_ins_user ON sign_ins (user_id);
CREATE INDEX sign_ins_idle ON sign_ins (last_seen);

-- Refresh tokens of a sign-in, the used ones too, by which a second use is found out. successor: what
-- it was exchanged for, at used_at.
CREATE TABLE refresh_tokens (
    token bytea PRIMARY KEY,
    sign_in text COLLATE "C" NOT NULL REFERENCES sign_ins ON DELETE CASCADE,
    successor bytea,
    used_at bigint,
    expires_at bigint NOT NULL
);

CREATE INDEX refresh_tokens_sign_in ON refresh_tokens (sign_in);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

-- purpose: 0 a new password, 1 a visitor's way to another browser.
CREATE TABLE once_tokens (
    token bytea PRIMARY KEY,
    purpose bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at bigint NOT NULL
);

CREATE INDEX once_tokens_user ON once_tokens (user_id);
CREATE INDEX once_tokens_expiry ON once_tokens (expires_at);

-- Whom an address stands for since its holder became a part of an account. since: what was written
-- there before was never his. No reference: the old address has no user any more.
CREATE TABLE aliases (
    old_id text COLLATE "C" PRIMARY KEY,
    new_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    merged_at bigint NOT NULL,
    since bigint NOT NULL
);

CREATE INDEX aliases_new ON aliases (new_id);

-- The secrets of visitors who became a part of an account.
CREATE TABLE moved_tokens (
    token bytea PRIMARY KEY,
    old_id text COLLATE "C" NOT NULL,
    new_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
    moved_at bigint NOT NULL
);

CREATE INDEX moved_tokens_new ON moved_tokens (new_id);

-- kind: user, client, network. act: ban, mute. No reference: a ban outlives its subject.
CREATE TABLE bans (
    kind text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    act text COLLATE "C" NOT NULL,
    ends_at bigint,
    reason text NOT NULL,
    made_by text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (kind, subject, act)
);

CREATE TABLE audit (
    id bytea PRIMARY KEY,
    noted_at bigint NOT NULL,
    actor text NOT NULL,
    act text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL
);

-- Requests with an idempotency key. status is NULL while one is being done.
CREATE TABLE keyed_requests (
    request_key bytea PRIMARY KEY,
    request bytea NOT NULL,
    status bigint,
    answer bytea,
    begun_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX keyed_requests_expiry ON keyed_requests (expires_at);
