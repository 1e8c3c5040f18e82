#!lua
-- The heart of the system: gives one draft its position in its room's log,
-- keeps it, and tells the other nodes. Scripts run one at a time, so what is
-- decided here is decided for all nodes.
--
-- KEYS  1 log         the room's stream; its IDs are the positions
--       2 keys        the senders' keys of this generation
--       3 keys:old    those of the generation before
-- ARGV  1 own         the channel of the connection on which the appending
--                     node hears this room; "" if it does not
--       2 channel     the room's channel
--       3 from        4 key    5 body    6 a digest of the body
--       7 epoch and 8 offset of the last position that the node has seen; 0 0
--       9 how many entries to keep     10 for how long, in seconds
--      11 for how long to keep a sender's key, in milliseconds
--      12 begin       "begin" to begin a new epoch when the log ends before
--                     what was seen
--      13 at          the time of a publication that is restored, in ms; ""
--      14 wait        "wait" when the appender waits for replicas or the disk:
--                     then something is written whenever a position is answered
--      15 when the appender gives the draft up, in milliseconds of Redis' clock;
--         0 for never
-- Answers { position, time in ms, 1 if it was here before, listening others,
-- time and key of the one before it: "0 -" if there was none, "? -" if unknown };
-- the errors CONFLICT if the key was used for another body, EXPIRED if the draft
-- has been given up, REWOUND if the log ends before what was seen. An error has
-- changed nothing.
--
-- A connection that broke may deliver its bytes late. A draft that was given up
-- by then must not land behind what its sender said since, so it is refused;
-- one that landed before has its position still.
--
-- Numbers are doubles: whole up to 2^53, which epochs in milliseconds and
-- offsets do not reach. They are printed by %.0f, because .. would round them.

local log, keys, old = KEYS[1], KEYS[2], KEYS[3]
local own, channel, from, key, body, digest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local seen_epoch, seen_offset = tonumber(ARGV[7]), tonumber(ARGV[8])
local keep, keep_seconds, window = ARGV[9], ARGV[10], tonumber(ARGV[11])
local begin, at, wait, latest = ARGV[12], ARGV[13], ARGV[14], tonumber(ARGV[15])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The others who listen are the room's subscribers without the appender
-- itself, if the connection that it names is among the living.
local function answer(position, at, before, prev)
  local n = redis.call('PUBSUB', 'NUMSUB', channel, own)
  local listening = n[2] - (n[4] > 0 and 1 or 0)
  if listening > 0 then
    redis.call('PUBLISH', channel,
      table.concat({ 'p', position, at, prev, from, key, body }, ' '))
  end
  return { position, at, before, listening, prev }
end

local tail = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]

-- 1. The key. Neither users nor keys have spaces, so their pair has one, and
-- the field "born" is no pair. A log that is gone takes its keys with it: they
-- would answer positions that nobody can read. The first publication is told
-- to the others again, because its first telling may have been withheld for a
-- subscription that ended while its answer was lost.
local sender = from .. ' ' .. key
local born = false
if tail then
  local known = redis.call('HMGET', keys, sender, 'born')
  born = tonumber(known[2])
  local first = known[1] or redis.call('HGET', old, sender)
  if first then
    local position, at, of = string.match(first, '^(%S+) (%S+) (%S+)$')
    if of ~= digest then
      return redis.error_reply('CONFLICT the key was used for another body')
    end
    if wait == 'wait' then
      redis.call('EXPIRE', log, keep_seconds)
    end
    return answer(position, at, 1, '? -')
  end
end

if latest ~= 0 and now >= latest then
  return redis.error_reply('EXPIRED the draft has been given up')
end

-- 2. The witness. A node that has seen more than the log holds proves that the
-- log has lost its tail. The node gets to know it and heals the log first, in a
-- new epoch, so that no position is given twice. An epoch beyond 2^53 proves
-- nothing: no log has it, somebody made it up.
local epoch, offset = 0, 0
if tail then
  epoch, offset = string.match(tail[1], '^(%d+)-(%d+)$')
  epoch, offset = tonumber(epoch), tonumber(offset)
end
if seen_epoch >= 2^53 then
  seen_epoch, seen_offset = 0, 0
end
local behind = epoch < seen_epoch or (epoch == seen_epoch and offset < seen_offset)
if behind and begin ~= 'begin' then
  return redis.error_reply('REWOUND the log ends before what this node has seen of it')
end
if not tail then
  redis.call('DEL', keys, old)
end
if not tail or behind then
  epoch = math.max(now, epoch + 1, seen_epoch + 1)
end

-- What this one follows, so that whoever hears it can tell whether that is what
-- they have heard. Entries written by hand may have other fields.
local prev = '0 -'
if tail then
  local f = tail[2]
  prev = f[1] == 'at' and f[5] == 'key' and f[2] .. ' ' .. f[6] or '? -'
end

-- 3. The log. Redis counts the offsets of an epoch by itself.
if at == '' then
  at = string.format('%.0f', now)
end
local position = redis.call('XADD', log, 'MAXLEN', '~', keep, string.format('%.0f-*', epoch),
  'at', at, 'from', from, 'key', key, 'body', body)
redis.call('EXPIRE', log, keep_seconds)

-- 4. The window of keys, in two generations: when the younger one is as old as
-- the window it becomes the older one, which is as old as two windows when the
-- next takes its place or it expires. So each key stays one window at least. A
-- generation from the future, as Redis' clock was set back, counts as just born.
if born and now - born >= window then
  redis.call('RENAME', keys, old)
  born = false
elseif born and now < born then
  born = false
end
redis.call('HSET', keys, sender, position .. ' ' .. at .. ' ' .. digest)
if not born then
  redis.call('HSET', keys, 'born', string.format('%.0f', now))
  redis.call('PEXPIRE', keys, string.format('%.0f', 2 * window))
end

return answer(position, at, 0, prev)
