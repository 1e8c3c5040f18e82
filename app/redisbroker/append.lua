#!lua
-- The heart of the system: gives one draft its position in its room's log,
-- keeps it, and tells the other nodes. Scripts run one at a time, so what is
-- decided here is decided for all nodes.
--
-- KEYS  1 log         the room's stream; its IDs are the positions
--       2 keys        the senders' keys of this generation
--       3 keys:old    those of the generation before
-- The names of the room's other keys are made here, since they are seldom needed:
--       changes       what has become of publications, in this generation; in the
--                     field "describes", the room's last description
--       changes:old   in the generation before
--       changed       the offsets of those publications of the epoch that are no
--                     messages: they change others, or describe the room
-- ARGV  1 own         the channel of the connection on which the appending
--                     node hears this room; "" if it does not
--       2 channel     the room's channel
--       3 from        4 key    5 body    6 a digest of the body
--       7 epoch and 8 offset of the last position that the node has seen; 0 0
--       9 how many entries to keep
--      10 for how long to keep a sender's key, in milliseconds
--      11 for how long to keep the log, in seconds: longer than is asked for by
--         as much as a sender's key is kept
--      12 begin       "begin" to begin a new epoch when the log ends before
--                     what was seen
--      13 at          the time of a publication that is restored, in ms; ""
--      14 wait        "wait" when the appender waits for replicas or the disk:
--                     then something is written whenever a position is answered
--      15 when the appender gives the draft up, in milliseconds of Redis' clock;
--         0 for never
--      Only if the publication is about something:
--      16 about
--      17 does        "e" if it edits another one, "d" if it deletes it, "s" if it
--                     describes the room; ""
--      18 which       the one that it changes, as <from> <key> <time in ms>;
--                     "describes"
-- Answers { position, time in ms, 1 if it was here before, listening others,
-- time and key of the one before it: "0 -" if there was none, "? -" if unknown;
-- Redis' clock in ms };
-- the errors CONFLICT if the key was used for another body, EXPIRED if the draft
-- has been given up, REWOUND if the log ends before what was seen, DELETED if what
-- it changes has been deleted. An error has changed nothing.
--
-- A connection that broke may deliver its bytes late. A draft that was given up
-- by then must not land behind what its sender said since, so it is refused;
-- one that landed before has its position still.
--
-- Numbers are doubles: whole up to 2^53, which epochs in milliseconds and
-- offsets do not reach. They are printed by %.0f, because .. would round them.

-- In rooms of whose messages the application is told, the script runs with a number
-- here: how many events may wait for it, roughly.
local backlog = nil

local log, keys, old = KEYS[1], KEYS[2], KEYS[3]
local own, channel, from, key, body, digest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local seen_epoch, seen_offset = ARGV[7], ARGV[8]
local keep, window, life = ARGV[9], tonumber(ARGV[10]), ARGV[11]
local begin, at, wait, latest = ARGV[12], ARGV[13], ARGV[14], tonumber(ARGV[15])
local about, does, which = ARGV[16], ARGV[17], ARGV[18]

local time = redis.call('TIME')
local clock = time[1] .. string.format('%03d', time[2] / 1000)
local now = tonumber(clock)

-- The others who listen are the room's subscribers without the appender
-- itself, if the connection that it names is among the living.
local function answer(position, at, before, prev)
  local n = redis.call('PUBSUB', 'NUMSUB', channel, own)
  local listening = n[2] - (n[4] > 0 and 1 or 0)
  if listening > 0 then
    local told
    if about then
      told = { 'r', position, at, prev, from, key, about, body }
    else
      told = { 'p', position, at, prev, from, key, body }
    end
    redis.call('PUBLISH', channel, table.concat(told, ' '))
  end
  return { position, at, before, listening, prev, clock }
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
      for _, name in ipairs({ 'log', 'changes', 'changes:old', 'changed' }) do
        redis.call('EXPIRE', string.sub(log, 1, -4) .. name, life)
      end
    end
    return answer(position, at, 1, '? -')
  end
end

if latest ~= 0 and now >= latest then
  return redis.error_reply('EXPIRED the draft has been given up')
end

-- A deletion is for good. What is restored is part of the log all the same.
local deleted = false
if does == 'e' or does == 'd' then
  local changes = string.sub(log, 1, -4) .. 'changes'
  local state = tail and (redis.call('HGET', changes, which) or redis.call('HGET', changes .. ':old', which))
  deleted = state and string.sub(state, 1, 1) == 'd'
  if deleted and at == '' then
    return redis.error_reply('DELETED what the draft changes has been deleted')
  end
end

-- 2. The witness. A node that has seen more than the log holds proves that the
-- log has lost its tail. The node gets to know it and heals the log first, in a
-- new epoch, so that no position is given twice. An epoch beyond 2^53 proves
-- nothing: no log has it, somebody made it up.
local epoch, offset = string.match(tail and tail[1] or '0-0', '^(%d+)-(%d+)$')
if not tail or epoch ~= seen_epoch or offset ~= seen_offset then
  local ends, seen = tonumber(epoch), tonumber(seen_epoch)
  if seen >= 2^53 then
    seen, seen_offset = 0, 0
  end
  local behind = ends < seen or (ends == seen and tonumber(offset) < tonumber(seen_offset))
  if behind and begin ~= 'begin' then
    return redis.error_reply('REWOUND the log ends before what this node has seen of it')
  end
  local room = string.sub(log, 1, -4)
  if not tail then
    redis.call('DEL', keys, old, room .. 'changes', room .. 'changes:old')
  end
  if not tail or behind then
    redis.call('DEL', room .. 'changed')
    epoch = string.format('%.0f', math.max(now, ends + 1, seen + 1))
  end
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
  at = clock
end
local position
if about then
  position = redis.call('XADD', log, 'MAXLEN', '~', keep, epoch .. '-*',
    'at', at, 'from', from, 'key', key, 'body', body, 'about', about)
else
  position = redis.call('XADD', log, 'MAXLEN', '~', keep, epoch .. '-*',
    'at', at, 'from', from, 'key', key, 'body', body)
end

-- The application is told in the same step, so that the one is as durable as the
-- other. What is restored is told again: if the log has lost it, so may have the
-- queue.
if backlog then
  redis.call('XADD', 'chatring:webhooks', 'MAXLEN', '~', backlog, '*', 'type', 'message_published',
    'room', string.match(channel, '{(.*)}'), 'pos', position, 'at', at, 'from', from, 'key', key,
    'about', about or '', 'body', body)
end

-- 4. The window of keys, in two generations: when the younger one is as old as
-- the window it becomes the older one, which is as old as two windows when the
-- next takes its place or it expires. So each key stays one window at least. A
-- generation from the future, as Redis' clock was set back, counts as just born.
-- The log's life is renewed with each generation and not with each publication;
-- what it is longer than asked for is what a generation may last.
if born and now - born >= window then
  redis.call('RENAME', keys, old)
  born = false
elseif born and now < born then
  born = false
end
redis.call('HSET', keys, sender, position .. ' ' .. at .. ' ' .. digest)
if not born then
  redis.call('HSET', keys, 'born', clock)
  redis.call('PEXPIRE', keys, string.format('%.0f', 2 * window))
  -- What stands beside the log lives as long.
  for _, name in ipairs({ 'log', 'changes', 'changes:old', 'changed' }) do
    redis.call('EXPIRE', string.sub(log, 1, -4) .. name, life)
  end
end

-- 5. What the publication changes, in two generations, too. A generation has
-- changes of what stood in the log when they were made, and begins with a position.
-- When the log begins behind it, everything that the generation before changes has
-- been trimmed, and this one becomes the older one. So there are two changes at
-- most for each entry of the log. Only the description is taken along.
if does and does ~= '' then
  local room = string.sub(log, 1, -4)
  local changes, older, changed = room .. 'changes', room .. 'changes:old', room .. 'changed'
  local first_epoch, first_offset = string.match(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][1], '^(%d+)-(%d+)$')
  local since_epoch, since_offset = string.match(redis.call('HGET', changes, 'born') or '', '^(%d+)-(%d+)$')
  if since_epoch then
    local first, since = tonumber(first_epoch), tonumber(since_epoch)
    if since < first or since == first and tonumber(since_offset) < tonumber(first_offset) then
      local described = redis.call('HGET', changes, 'describes')
      redis.call('RENAME', changes, older)
      if described then
        redis.call('HSET', changes, 'describes', described)
      end
      since_epoch = nil
    end
  end
  if not since_epoch then
    redis.call('HSET', changes, 'born', position)
  end
  if not deleted then
    local what = does == 'd' and from or body
    redis.call('HSET', changes, which, table.concat({ does, position, at, what }, ' '))
  end
  redis.call('ZADD', changed, string.match(position, '%d+$'), position)
  if first_epoch == epoch then
    redis.call('ZREMRANGEBYSCORE', changed, '-inf', '(' .. first_offset)
  end
  redis.call('EXPIRE', changes, life)
  redis.call('EXPIRE', older, life)
  redis.call('EXPIRE', changed, life)
end

return answer(position, at, 0, prev)
