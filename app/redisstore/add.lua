#!lua
-- Puts a room on the lists of users, where it is not and where there is place.
--
-- KEYS  the lists, each a hash of room and marker
-- ARGV  1 room        2 how many rooms a list may have
--       3… the marker for each list, in their order

for i, list in ipairs(KEYS) do
  if redis.call('HLEN', list) < tonumber(ARGV[2]) then
    redis.call('HSETNX', list, ARGV[1], ARGV[i + 2])
  end
end
