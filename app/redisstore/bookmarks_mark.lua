#!lua
-- Moves the marker of a user in a room; see bookmarks.Marked for the rule.
--
-- KEYS  1 list        the user's rooms: a hash of room and marker
--       2 log         the room's
-- ARGV  1 room        2 the position up to which the user has read
--       3 how many rooms a list may have
-- Answers { where the marker stands, 1 if it has been moved there }; the errors
-- AHEAD if the log ends before the position, FULL if the room is not on the list and
-- the list has no place for it. An error has changed nothing.
--
-- Numbers are doubles: whole up to 2^53, which no position of a log reaches. One
-- that does is ahead of every log.

local list, log = KEYS[1], KEYS[2]
local room, pos, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function before(p, q)
  local pe, po = string.match(p, '^(%d+)-(%d+)$')
  local qe, qo = string.match(q, '^(%d+)-(%d+)$')
  pe, qe = tonumber(pe), tonumber(qe)
  return pe < qe or pe == qe and tonumber(po) < tonumber(qo)
end

local tail = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local last = tail and tail[1] or '0-0'
if before(last, pos) then
  return redis.error_reply('AHEAD the log ends before this position')
end
local marker = redis.call('HGET', list, room)
if not marker and redis.call('HLEN', list) >= most then
  return redis.error_reply('FULL the list has as many rooms as it may')
end
if marker and (marker == pos or before(pos, marker) and not before(last, marker)) then
  return { marker, 0 }
end
redis.call('HSET', list, room, pos)
return { pos, 1 }
