-- Takes some users from a dead node and looks at each.
--
-- KEYS  1 the users of the node 2 the nodes that have users
-- ARGV  1 node 2 how many
-- Answers what was found, and whether there are others left.

if redis.call('PUBSUB', 'NUMSUB', ARGV[1])[2] > 0 then
  return {{}, 0}
end
local found = {}
for i, name in ipairs(redis.call('SPOP', KEYS[1], ARGV[2])) do
  found[i] = look(name)
end
local more = redis.call('EXISTS', KEYS[1])
if more == 0 then
  redis.call('SREM', KEYS[2], ARGV[1])
end
return {found, more}
