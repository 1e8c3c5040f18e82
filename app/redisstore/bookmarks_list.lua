#!lua flags=no-writes
-- All rooms of a user, with what has been said since. It asks each room the same few
-- things, whatever was said there, and a list is bounded.
--
-- KEYS  1 list        the user's rooms: a hash of room and marker
-- Answers for each room { room, marker, the log's last position, its time in ms (""
-- if there is no log), unread, 1 if there may be fewer, the room's description ("" if
-- it has none) }.

local function split(position)
  local epoch, offset = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(epoch), tonumber(offset)
end

-- The changes of other messages in the log's epoch are a sorted set by offset; they
-- are no messages themselves. A log may go on in another epoch behind the entries of
-- one before: those count as far as they stand behind the marker.
local function unread(log, changed, marker, last)
  local epoch, offset = split(last)
  local read_epoch, read = split(marker)
  local length = redis.call('XLEN', log)
  if marker == '0-0' and offset + 1 == length then
    read_epoch, read = epoch, -1
  end
  local n = offset - read
  if read_epoch == epoch and n <= length then
    return math.max(0, n - redis.call('ZCOUNT', changed, '(' .. read, '+inf')), 0
  end
  n = length
  local before = redis.call('XREVRANGE', log, '(' .. string.match(last, '^%d+') .. '-0', '-', 'COUNT', 1)[1]
  if before then
    local before_epoch, before_offset = split(before[1])
    if before_epoch == read_epoch then
      n = math.min(n, math.max(0, before_offset - read) + offset + 1)
    end
  end
  return math.max(0, n - redis.call('ZCARD', changed)), 1
end

local rooms = {}
local list = redis.call('HGETALL', KEYS[1])
for i = 1, #list, 2 do
  local room, marker = list[i], list[i + 1]
  local of = 'chatring:{' .. room .. '}:'
  local tail = redis.call('XREVRANGE', of .. 'log', '+', '-', 'COUNT', 1)[1]
  local row = { room, marker, '0-0', '', 0, 0, '' }
  if tail then
    row[3] = tail[1]
    row[4] = tail[2][1] == 'at' and tail[2][2] or ''
    row[5], row[6] = unread(of .. 'log', of .. 'changed', marker, tail[1])
    local described = redis.call('HGET', of .. 'changes', 'describes')
    row[7] = described and string.match(described, '^%S+ %S+ %S+ (.*)$') or ''
  end
  rooms[#rooms + 1] = row
end
return rooms
