//! The Lua scripts of location: whatever must compare before it writes.
//!
//! Not here: who calls them and when. Invariant: no script creates a lease except the claim, and
//! none removes a registration whose node life holds a lease, except that life's own.
//!
//! The scripts read names that they build themselves (`node:` and a node), so they need one Redis
//! with its replicas, not a Redis Cluster.

use redis::Script;

/// Takes the lease unconditionally. Names of nodes that ended an hour ago are dropped on the way.
/// KEYS: lease, nodes. ARGV: value, node, milliseconds.
const CLAIM: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 3600000)
return 1
";

/// Makes a lease longer, if it is this life's. It never creates one: a renewal that a frozen Redis
/// carries out late would make a node count that is registered nowhere.
/// KEYS: lease, nodes. ARGV: incarnation, node, milliseconds. Returns the incarnation that holds
/// the lease, or nothing.
const RENEW: &str = r"
local value = redis.call('GET', KEYS[1])
if not value then return false end
local holder = string.match(value, '^(%x+)|')
if holder == ARGV[1] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
end
return holder
";

/// Writes another state into this life's lease and leaves its end as it is.
/// KEYS: lease. ARGV: incarnation, value.
const MARK: &str = r"
local value = redis.call('GET', KEYS[1])
if value and string.match(value, '^(%x+)|') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
end
return 1
";

/// Gives this life's lease up. KEYS: lease, nodes. ARGV: incarnation, node.
const RELEASE: &str = r"
local value = redis.call('GET', KEYS[1])
if value and string.match(value, '^(%x+)|') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
end
return 1
";

/// Notes a visitor for an hour, a loose one under the fingerprint beside the last other one; under the fingerprint that
/// the visitor had before, nothing stays. The visitor counts to the widest network that they come from. When that
/// has its share of what is free it forgets those of its own who were noted longest ago; when less than a sixteenth is
/// free, the network that holds more than twice as much does. Those who are connected keep their key: others look for
/// them there.
///
/// One who comes back from another network counts to both for an hour, and goes with the first that forgets them.
/// What a network holds is counted anew with each of its notes, and when its last one is an hour old: so at most
/// what is older than an hour counts for too long, and for an hour at most.
/// KEYS: visitor, visitors of the network, ranks, counts, times of the networks, fingerprint of a loose one.
/// ARGV: value, seconds, user, prefix of fingerprints, prefix of visitors, prefix of sessions, prefix of lists, network,
/// multiple, how many may be remembered.
const INTRODUCE: &str = r"
local old = redis.call('GET', KEYS[1])
local client = old and string.match(old, '^[^|]*|[^|]*|loose|[^|]*|([^|]*)|')
if KEYS[6] and client and ARGV[4] .. client ~= KEYS[6] then
  local rest = {}
  for user in string.gmatch(redis.call('GET', ARGV[4] .. client) or '', '[^ ]+') do
    if user ~= ARGV[3] then rest[#rest + 1] = user end
  end
  if #rest == 0 then
    redis.call('DEL', ARGV[4] .. client)
  else
    redis.call('SET', ARGV[4] .. client, table.concat(rest, ' '), 'KEEPTTL')
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if KEYS[6] then
  local noted = ARGV[3]
  local before = redis.call('GET', KEYS[6])
  if before then
    local other = nil
    for user in string.gmatch(before, '[^ ]+') do
      if user ~= ARGV[3] then other = user end
    end
    if other then noted = other .. ' ' .. noted end
  end
  redis.call('SET', KEYS[6], noted, 'EX', ARGV[2])
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local over = now - ARGV[2] * 1000000
local multiple, max = tonumber(ARGV[9]), tonumber(ARGV[10])
-- The factor is zero for another network than that of the visitor: its rank is scaled.
local function count(network, factor)
  local list = ARGV[7] .. network
  redis.call('ZREMRANGEBYSCORE', list, '-inf', over)
  local has = redis.call('ZCARD', list)
  local had = tonumber(redis.call('HGET', KEYS[4], network) or 0)
  if has ~= had then redis.call('HINCRBY', KEYS[4], 'all', has - had) end
  if has == 0 then
    redis.call('HDEL', KEYS[4], network)
    redis.call('ZREM', KEYS[3], network)
    redis.call('ZREM', KEYS[5], network)
  elseif has ~= had then
    redis.call('HSET', KEYS[4], network, has)
    local rank = had > 0 and redis.call('ZSCORE', KEYS[3], network)
    if factor > 0 then
      rank = has / factor
    else
      rank = rank and rank * has / had or has
    end
    redis.call('ZADD', KEYS[3], rank, network)
  end
  return has
end
local function forget(network, factor)
  local oldest = redis.call('ZPOPMIN', ARGV[7] .. network)[1]
  if oldest and redis.call('EXISTS', ARGV[6] .. oldest) == 0 then
    redis.call('DEL', ARGV[5] .. oldest)
  end
  return count(network, factor)
end
for _, network in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', over, 'LIMIT', 0, 4)) do
  count(network, 0)
end
redis.call('ZADD', KEYS[2], now, ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[5], now, ARGV[8])
local mine = count(ARGV[8], multiple)
for _ = 1, 64 do
  local free = max - tonumber(redis.call('HGET', KEYS[4], 'all') or 0)
  if free >= 0 and mine <= math.max(1, (free + 1) * multiple) then break end
  local largest = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  if largest[1] and free <= max / 16 and tonumber(largest[2]) > 2 * mine / multiple then
    forget(largest[1], 0)
  elseif mine > 1 then
    mine = forget(ARGV[8], multiple)
  elseif largest[1] and largest[1] ~= ARGV[8] then
    forget(largest[1], 0)
  else
    break
  end
end
for i = 3, 5 do redis.call('EXPIRE', KEYS[i], 2 * ARGV[2]) end
return 1
";

/// Lists the live nodes with their leases, alternating. KEYS: nodes. ARGV: prefix of leases.
const PEERS: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  local value = redis.call('GET', ARGV[1] .. node)
  if value then
    found[#found + 1] = node
    found[#found + 1] = value
  end
end
return found
";

/// Removes sessions that this life wrote. KEYS: one `loc:` key for each session.
/// ARGV: what this life's entries begin with, then the sessions.
const DETACH: &str = r"
for i = 1, #KEYS do
  local value = redis.call('HGET', KEYS[i], ARGV[i + 1])
  if value and string.sub(value, 1, #ARGV[1]) == ARGV[1] then
    redis.call('HDEL', KEYS[i], ARGV[i + 1])
  end
end
return 1
";

/// Records interests, unless a younger life of this node holds the lease (then 0), and keeps the
/// newer generation. KEYS: lease, then one `sub:` key for each interest.
/// ARGV: node, incarnation, life of the keys in seconds, then the generations.
const WANT: &str = r"
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, '^(%x+)|') ~= ARGV[2] then return 0 end
for i = 2, #KEYS do
  local stored = redis.call('HGET', KEYS[i], ARGV[1]) or ''
  local life, generation = string.match(stored, '^(%x+)|(%d+)$')
  if life ~= ARGV[2] or tonumber(generation) <= tonumber(ARGV[i + 2]) then
    redis.call('HSET', KEYS[i], ARGV[1], ARGV[2] .. '|' .. ARGV[i + 2])
  end
  redis.call('EXPIRE', KEYS[i], ARGV[3])
end
return 1
";

/// Withdraws interests of this life that are not newer than the given generation.
/// KEYS: one `sub:` key for each interest. ARGV: node, incarnation, then the generations.
const UNWANT: &str = r"
for i = 1, #KEYS do
  local stored = redis.call('HGET', KEYS[i], ARGV[1]) or ''
  local life, generation = string.match(stored, '^(%x+)|(%d+)$')
  if life == ARGV[2] and tonumber(generation) <= tonumber(ARGV[i + 2]) then
    redis.call('HDEL', KEYS[i], ARGV[1])
  end
end
return 1
";

/// Records interests in patterns as [`WANT`] does. Those that the hash has no room for, also without
/// the fields of lives that hold no lease, are refused. A change gives the hash another version.
/// KEYS: lease, hash of patterns. ARGV: node, incarnation, life of the key in seconds, how many
/// there may be, prefix of leases, token, then patterns and generations, alternating.
/// Returns the places of those refused, counted from one; {0} if a younger life holds the lease.
const WANT_PATTERNS: &str = r"
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, '^(%x+)|') ~= ARGV[2] then return {0} end
local refused, changed, swept = {}, false, false
local function is_full()
  local fields = redis.call('HLEN', KEYS[2]) - redis.call('HEXISTS', KEYS[2], 'version')
  return fields >= tonumber(ARGV[4])
end
local function sweep()
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local node, life = string.match(all[i], '|([^|]*)$'), string.match(all[i + 1], '^(%x+)|')
    local lease = node and redis.call('GET', ARGV[5] .. node)
    if node and (not lease or string.match(lease, '^(%x+)|') ~= life) then
      redis.call('HDEL', KEYS[2], all[i])
      changed = true
    end
  end
end
for i = 7, #ARGV, 2 do
  local field = ARGV[i] .. '|' .. ARGV[1]
  local stored = redis.call('HGET', KEYS[2], field)
  if not stored and not swept and is_full() then
    sweep()
    swept = true
  end
  local life, generation = string.match(stored or '', '^(%x+)|(%d+)$')
  if not stored and is_full() then
    refused[#refused + 1] = (i - 5) / 2
  elseif life ~= ARGV[2] or tonumber(generation) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[2], field, ARGV[2] .. '|' .. ARGV[i + 1])
    changed = true
  end
end
if changed then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[2], 'version', ARGV[6] .. time[1] .. '.' .. time[2])
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return refused
";

/// Withdraws interests in patterns as [`UNWANT`] does.
/// KEYS: hash of patterns. ARGV: node, incarnation, token, then patterns and generations,
/// alternating.
const UNWANT_PATTERNS: &str = r"
local changed = false
for i = 4, #ARGV, 2 do
  local field = ARGV[i] .. '|' .. ARGV[1]
  local stored = redis.call('HGET', KEYS[1], field) or ''
  local life, generation = string.match(stored, '^(%x+)|(%d+)$')
  if life == ARGV[2] and tonumber(generation) <= tonumber(ARGV[i + 1]) then
    redis.call('HDEL', KEYS[1], field)
    changed = true
  end
end
if changed then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'version', ARGV[3] .. time[1] .. '.' .. time[2])
end
return 1
";

/// The janitor: removes fields whose node life has no lease now. It reads field and lease itself:
/// between the look-up that noticed and this moment the same field may have been written again.
/// KEYS: one `loc:` or `sub:` key for each field. ARGV: prefix of leases, token, then the fields.
const SWEEP: &str = r"
local swept = 0
for i = 1, #KEYS do
  local field = ARGV[i + 2]
  local value = redis.call('HGET', KEYS[i], field)
  if value then
    local node, life = field, string.match(value, '^(%x+)|')
    if string.sub(KEYS[i], 1, 4) == 'loc:' then
      node, life = string.match(value, '^([^|]*)|(%x+)|')
    elseif KEYS[i] == 'sub:patterns' then
      node = string.match(field, '|([^|]*)$')
    end
    local lease = node and redis.call('GET', ARGV[1] .. node)
    if not lease or string.match(lease, '^(%x+)|') ~= life then
      swept = swept + redis.call('HDEL', KEYS[i], field)
      if KEYS[i] == 'sub:patterns' then
        local time = redis.call('TIME')
        redis.call('HSET', KEYS[i], 'version', ARGV[2] .. time[1] .. '.' .. time[2] .. '.' .. i)
      end
    end
  end
end
return swept
";

/// All of them, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) renew: Script,
    pub(super) mark: Script,
    pub(super) release: Script,
    pub(super) peers: Script,
    pub(super) detach: Script,
    pub(super) want: Script,
    pub(super) unwant: Script,
    pub(super) want_patterns: Script,
    pub(super) unwant_patterns: Script,
    pub(super) sweep: Script,
    pub(super) introduce: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(CLAIM),
            renew: Script::new(RENEW),
            mark: Script::new(MARK),
            release: Script::new(RELEASE),
            peers: Script::new(PEERS),
            detach: Script::new(DETACH),
            want: Script::new(WANT),
            unwant: Script::new(UNWANT),
            want_patterns: Script::new(WANT_PATTERNS),
            unwant_patterns: Script::new(UNWANT_PATTERNS),
            sweep: Script::new(SWEEP),
            introduce: Script::new(INTRODUCE),
        }
    }
}
