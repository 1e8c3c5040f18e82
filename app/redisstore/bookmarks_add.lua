#!lua
-- Puts a room on the lists of users, where there is place.
--
-- KEYS  the lists, each a hash of room and marker
-- ARGV  1 room        2 how many rooms a list may have
--       3 before      a marker that stands here moves
--       4… the marker for each list, in their order

local room, most, before = ARGV[1], tonumber(ARGV[2]), ARGV[3]
for i, list in ipairs(KEYS) do
  local marker = redis.call('HGET', list, room)
  if marker == before or not marker and redis.call('HLEN', list) < most then
    redis.call('HSET', list, room, ARGV[i + 3])
  end
end
