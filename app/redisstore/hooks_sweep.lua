
-- Looks at some rooms that are known as occupied: has somebody stopped to hear them
-- without a word, as nodes do that die, or rooms that linger? A connection that
-- breaks comes back at once, so only what nobody hears for a while is vacated. All
-- nodes sweep together: each goes on where the one before it has stopped.
--
-- KEYS  3 sweep        where to go on, and when the last round began
-- ARGV  2 how long nobody may hear a room before it is vacated, in milliseconds
--       3 how many rooms to look at, roughly
--       4 how long after a round's beginning the next one begins, in milliseconds
-- Answers 1 if there are more to look at in this round.

local sweep, grace, count, every = KEYS[3], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local clock = time[1] .. string.format('%03d', time[2] / 1000)
local now = tonumber(clock)

local at = redis.call('HMGET', sweep, 'cursor', 'began')
local cursor, began = at[1] or '0', tonumber(at[2] or 0)
if cursor == '0' then
  if now - began < every and now >= began then
    return 0
  end
  redis.call('HSET', sweep, 'began', clock)
end

local found = redis.call('HSCAN', occupied, cursor, 'COUNT', count)
redis.call('HSET', sweep, 'cursor', found[1])
for first = 1, #found[2], 2000 do
  local rooms, since = {}, {}
  for i = first, math.min(first + 1999, #found[2]), 2 do
    rooms[#rooms + 1], since[#since + 1] = found[2][i], found[2][i + 1]
  end
  for i, n in ipairs(heard(rooms)) do
    if n > 0 then
      if since[i] ~= '' then
        redis.call('HSET', occupied, rooms[i], '')
      end
    elseif since[i] == '' then
      redis.call('HSET', occupied, rooms[i], clock)
    elseif now - tonumber(since[i]) >= grace then
      redis.call('HDEL', occupied, rooms[i])
      tell(rooms[i], false)
    end
  end
end
return found[1] == '0' and 0 or 1
