#!lua
-- Sets an entry aside that will never be handled: it goes to a stream of its
-- own, where somebody can look at it, and leaves the queue. Said twice, it is
-- done once.
--
-- KEYS  1 stream     2 dead      where it goes
-- ARGV  1 group      2 by        who says so
--       3 ID         4 why
--       5 how many entries of dead to keep, roughly
--       6 how long an entry may be to go whole, in bytes, and 7 with how many
--         fields, their names counted too; of a longer one the first fields go,
--         the beginning of each
-- Answers 1 if it was set aside, 0 if it was not there.

local stream, dead = KEYS[1], KEYS[2]
local group, by, id, why, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local longest, most = tonumber(ARGV[6]), tonumber(ARGV[7])

if not redis.call('XPENDING', stream, group, id, id, 1)[1] then
  return 0
end
local entry = redis.call('XRANGE', stream, id, id)[1]
if entry then
  local fields, size = entry[2], 0
  for i = 1, #fields do
    size = size + #fields[i] + 16
  end
  local said = { 'id', id, 'why', why, 'by', by, 'size', size }
  local first, each = #fields, longest
  if size > longest or #fields > most then
    first, each = math.min(#fields, 20), 500
  end
  for i = 1, first do
    said[#said + 1] = string.sub(fields[i], 1, each)
  end
  redis.call('XADD', dead, 'MAXLEN', '~', keep, '*', unpack(said))
end
redis.call('XACK', stream, group, id)
redis.call('XDEL', stream, id)
return entry and 1 or 0
