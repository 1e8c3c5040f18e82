#!lua flags=allow-oom
-- One turn of a queue: makes the consumer its reader, or keeps it so, and hands
-- it entries. Whether it may read is decided in the same step as what it reads,
-- so that two never do. Scripts cannot wait for entries; the reader comes again.
--
-- KEYS  1 stream
--       2 reader      who reads; expires when that one gives no sign of life
-- ARGV  1 group       2 consumer
--       3 for how long a consumer that gives no sign of life may read, in ms
--       4 how many entries it can take, and 5 how many bytes, roughly
--       6 the longest entry that it wants to see, in bytes, and 7 with the most
--         fields, their names counted too
--       8 after        "" to read what nobody has been given yet; else the ID
--                     from which on pending entries are taken over, as XPENDING
--                     understands it
--       9 how many entries the consumer has that are pending: if there are more, an
--         answer with some was lost, and nothing new comes before them
-- Answers { for how long the consumer may read, in milliseconds, 0 if another
-- reads; how many entries nobody has been given yet; how many are pending; what to
-- say as "after" the next time; entries }. An entry is { ID, how often it was
-- given to somebody, 1 if it was another's, its size, fields }; the fields of one
-- that is too long are left out.
--
-- It writes also when Redis is full: it adds next to nothing, and what it hands
-- out is on its way out of Redis.

local stream, reader = KEYS[1], KEYS[2]
local group, me, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local count, bytes, longest, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local after, known = ARGV[8], tonumber(ARGV[9])

-- The group is made before its first entry is read, and again after a FLUSHALL;
-- from 0, so that nothing is overlooked that was added meanwhile.
if redis.pcall('XPENDING', stream, group).err then
  redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
end

local function answer(left, entries)
  local n = redis.call('XPENDING', stream, group)[1]
  local waiting = math.max(0, redis.call('XLEN', stream) - n) -- what is pending may have been trimmed
  return { left, waiting, n, after, entries }
end

redis.call('SET', reader, me, 'NX', 'PX', lease)
if redis.call('GET', reader) ~= me then
  return answer(0, {})
end
-- Not in each turn: what is written goes to the disk.
local left = redis.call('PTTL', reader)
if left < 0.8 * lease then
  redis.call('PEXPIRE', reader, lease)
  left = lease
end

local entries, taken = {}, 0
local function take(id, fields, given, other)
  local size = 0
  for i = 1, #fields do
    size = size + #fields[i] + 16
  end
  if size > longest or #fields > most then
    fields = {}
  else
    taken = taken + size
  end
  entries[#entries + 1] = { id, given, other, size, fields }
end

if after == '' then
  if redis.call('XPENDING', stream, group)[1] > known then
    count = 0
  end
  while #entries < count and taken < bytes do
    local new = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', 1, 'STREAMS', stream, '>')
    if not new then
      break
    end
    local entry = new[1][2][1]
    take(entry[1], entry[2], 1, 0)
  end
elseif count > 0 then
  -- What another was given counts as given once more: it may be the entry that
  -- killed it. Entries that have been deleted leave the list by being claimed.
  local found = redis.call('XPENDING', stream, group, after, '+', count)
  local seen = 0
  for _, p in ipairs(found) do
    if taken >= bytes then
      break
    end
    seen = seen + 1
    after = '(' .. p[1]
    local other = p[2] ~= me and 1 or 0
    local entry = redis.call('XCLAIM', stream, group, me, 0, p[1], 'RETRYCOUNT', p[4] + other)[1]
    if entry then
      take(entry[1], entry[2], p[4] + other, other)
    end
  end
  if seen == #found and seen < count then
    after = ''
  end
end
return answer(left, entries)
