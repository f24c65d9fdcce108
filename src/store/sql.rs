//! The statements that are the same in SQLite and in PostgreSQL, each written once.
//!
//! Not here: what differs (locking, batches, positions); that stands in the engine's own file.
//! Invariant: parameters are `$1`, `$2`, ... and first appear in this order, because SQLite numbers
//! such names by their first appearance.

/// The columns of a user, in the order of [`super::rows::UserRow`].
macro_rules! user_columns {
    () => {
        "u.user_id, u.kind, u.is_loose, u.taken_at, u.name, u.client_identifier, u.created_at, \
         u.last_seen, u.is_kept"
    };
}

/// The columns of a message, in the order of [`super::rows::MessageRow`].
macro_rules! message_columns {
    () => {
        "m.room, m.seq, c.epoch, m.id, m.from_user, m.from_name, m.to_user, m.client_id, m.text, \
         m.accepted_at"
    };
}

pub(super) use message_columns;

/// Whether a message `m` that was to expire is kept: it was written by a visitor who has an account since then,
/// before it expired. What another one wrote who had the address before goes as it would have.
macro_rules! is_of_account {
    () => {
        "EXISTS (SELECT 1 FROM users u JOIN accounts a ON a.user_id = u.user_id \
         WHERE u.user_id = m.from_user AND u.kind = 1 AND m.expires_at > a.created_at \
         AND m.accepted_at >= coalesce(u.taken_at, 0))"
    };
}

pub(super) use is_of_account;

/// The statements with their names, so that a test can look at every one.
macro_rules! statements {
    ($($(#[doc = $doc:literal])* $name:ident = $text:expr;)*) => {
        $($(#[doc = $doc])* pub(super) const $name: &str = $text;)*

        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    /// Makes a fact of the store, unless it is there.
    PUT_META = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    /// A fact of the store.
    META = "SELECT value FROM meta WHERE key = $1";

    /// A user by his address.
    USER = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.user_id = $1");
    /// The owner of a live secret, and when it ends.
    VISITOR_BY_TOKEN = concat!(
        "SELECT ", user_columns!(), ", t.expires_at FROM visitor_tokens t JOIN users u ON u.user_id = t.user_id",
        " WHERE t.token = $1 AND t.expires_at > $2"
    );
    /// At most two loose visitors with a fingerprint, in the order of the index that finds them: a
    /// thousand visitors of one network may share a fingerprint, and none of them is to be sorted.
    LOOSE_VISITORS = concat!(
        "SELECT ", user_columns!(), " FROM users u WHERE u.client_identifier = $1",
        " AND u.is_loose = 1 AND u.last_seen >= $2 ORDER BY u.last_seen, u.user_id LIMIT 2"
    );
    /// Whether an address has a row, leads to an account, or was given up.
    TAKEN = "SELECT 1 FROM users WHERE user_id = $1 \
        UNION ALL SELECT 1 FROM aliases WHERE old_id = $1 \
        UNION ALL SELECT 1 FROM ended_visitors WHERE user_id = $1 LIMIT 1";
    /// A new visitor, unless the address is taken or was given up.
    PUT_VISITOR = "INSERT INTO users (user_id, kind, is_loose, taken_at, name, client_identifier, \
        created_at, last_seen, is_kept) SELECT $1, 0, $2, $3, $4, $5, $6, $6, $7 \
        WHERE NOT EXISTS (SELECT 1 FROM ended_visitors e WHERE e.user_id = $1) \
        AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.old_id = $1) \
        ON CONFLICT (user_id) DO NOTHING";
    /// Something depends on a visitor from now on.
    KEEP_VISITOR = "UPDATE users SET is_kept = 1 WHERE user_id = $1 AND is_kept = 0";
    /// No secret opens an address for some time, nor one that led to it.
    END_VISITOR = "INSERT INTO ended_visitors (user_id, ends_at) \
        SELECT CAST($1 AS text), CAST($2 AS bigint) \
        UNION SELECT old_id, CAST($2 AS bigint) FROM aliases WHERE new_id = CAST($1 AS text) \
        ON CONFLICT (user_id) DO UPDATE SET ends_at = excluded.ends_at \
        WHERE ended_visitors.ends_at < excluded.ends_at";
    /// Addresses of which every secret has ended by itself, some at a time.
    DROP_ENDED = "DELETE FROM ended_visitors WHERE user_id IN ( \
        SELECT user_id FROM ended_visitors WHERE ends_at <= $1 LIMIT $2)";
    /// Visitors on which nothing depends, some at a time.
    UNKEPT = "SELECT user_id FROM users WHERE is_kept = 0 AND kind = 0 AND last_seen < $1 \
        ORDER BY user_id LIMIT $2";
    /// A secret, unless it is somebody's live one.
    PUT_TOKEN = "INSERT INTO visitor_tokens (token, user_id, expires_at) VALUES ($1, $2, $3) \
        ON CONFLICT (token) DO UPDATE \
        SET user_id = excluded.user_id, expires_at = excluded.expires_at \
        WHERE visitor_tokens.expires_at <= $4";
    /// Slides the life of a live secret and says whose it is.
    SLIDE_TOKEN = "UPDATE visitor_tokens SET expires_at = $1 \
        WHERE token = $2 AND expires_at > $3 RETURNING user_id";
    /// Makes a user firm, seen now.
    CONFIRM_USER = "UPDATE users SET is_loose = 0, \
        last_seen = CASE WHEN last_seen < $1 THEN $1 ELSE last_seen END WHERE user_id = $2";
    /// The user was seen now.
    SEEN = "UPDATE users SET last_seen = $1 WHERE last_seen < $1 AND user_id = $2";
    /// The one conditional update of a take-over.
    TAKE_OVER = "UPDATE users SET taken_at = $1, \
        last_seen = CASE WHEN last_seen < $2 THEN $2 ELSE last_seen END \
        WHERE user_id = $3 AND is_loose = 1 AND last_seen = $4 \
        AND taken_at IS NOT DISTINCT FROM $5";

    /// A stretch of a conversation with its head; one row without a message when it is empty.
    RANGE = concat!(
        "SELECT c.head, ", message_columns!(), " FROM conversations c LEFT JOIN messages m",
        " ON m.room = c.room AND m.seq > $1 AND m.seq <= $2 WHERE c.room = $3",
        " ORDER BY m.seq LIMIT $4"
    );
    /// Whether a member has written since.
    WROTE_SINCE = "SELECT 1 FROM members WHERE user_id = $1 AND room = $2 AND wrote_at >= $3";
    /// What a user wrote or received, oldest first, while the texts before it have fewer bytes than the
    /// limit. Only keys and lengths are sorted; the texts of what is chosen are read by their key.
    EXPORT = concat!(
        "SELECT ", message_columns!(), " FROM (",
        "SELECT k.room, k.seq, SUM(k.size) OVER (ORDER BY k.id, k.room, k.seq) - k.size AS ahead",
        " FROM (SELECT m.id, m.room, m.seq, OCTET_LENGTH(m.text) AS size",
        " FROM members o JOIN messages m ON m.room = o.room WHERE o.user_id = $1 AND m.id > $2",
        " ORDER BY m.id, m.room, m.seq LIMIT $3) k) w",
        " JOIN messages m ON m.room = w.room AND m.seq = w.seq",
        " JOIN conversations c ON c.room = m.room WHERE w.ahead < $4 ORDER BY m.id, m.room, m.seq"
    );

    /// Takes the words out of everything a user wrote.
    BLANK_MESSAGES = "UPDATE messages SET text = '', from_name = '' WHERE from_user = $1 \
        AND room IN (SELECT room FROM members WHERE user_id = $1)";
    /// Removes the conversations that have no other member, with all that hangs on them.
    DROP_LONELY_CONVERSATIONS = "DELETE FROM conversations \
        WHERE room IN (SELECT room FROM members WHERE user_id = $1) AND NOT EXISTS ( \
        SELECT 1 FROM members o WHERE o.room = conversations.room AND o.user_id <> $1)";
    /// What visitors have stored, by slots of time in which it ends.
    STORED_BY_VISITORS = "SELECT expires_at / $1 AS slot, count(*), \
        CAST(sum(octet_length(text)) AS BIGINT) FROM messages WHERE expires_at IS NOT NULL \
        GROUP BY 1 ORDER BY 1";
    /// Rows of visitors, by slots of time in which they end unless their users come back.
    VISITORS_STORED = "SELECT (last_seen + $1) / $2 AS slot, count(*) FROM users \
        WHERE kind = 0 AND is_kept = 1 GROUP BY 1 ORDER BY 1";
    /// Ends the memberships of a user.
    DROP_MEMBER = "DELETE FROM members WHERE user_id = $1";
    /// Ends the secrets of a user.
    DROP_TOKENS = "DELETE FROM visitor_tokens WHERE user_id = $1";
    /// Removes a user.
    DROP_USER = "DELETE FROM users WHERE user_id = $1";
    /// Removes some secrets whose life is over.
    DROP_EXPIRED_TOKENS = "DELETE FROM visitor_tokens WHERE token IN ( \
        SELECT token FROM visitor_tokens WHERE expires_at <= $1 LIMIT $2)";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn the_parameters_of_a_statement_first_appear_in_their_order() {
        for (name, text) in ALL {
            let mut highest = 0;
            for number in text.split('$').skip(1) {
                let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
                let number: u32 = digits.parse().expect(name);
                assert!(number <= highest + 1, "{name}: ${number} comes too early");
                highest = highest.max(number);
            }
        }
    }
}
