#!lua flags=no-writes
-- Says which of some lists have a room.
--
-- KEYS  the lists, each a hash of room and marker
-- ARGV  1 room
-- Answers 1 or 0 for each.

local answers = {}
for i, list in ipairs(KEYS) do
  answers[i] = redis.call('HEXISTS', list, ARGV[1])
end
return answers
