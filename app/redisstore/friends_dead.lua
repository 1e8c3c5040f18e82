-- Answers which of the nodes that have users are dead: nobody hears their channels.
--
-- KEYS  1 the nodes that have users

local nodes = redis.call('SMEMBERS', KEYS[1])
local dead = {}
for first = 1, #nodes, 1000 do
  local found = redis.call('PUBSUB', 'NUMSUB', unpack(nodes, first, math.min(first + 999, #nodes)))
  for i = 1, #found, 2 do
    if found[i + 1] == 0 then
      dead[#dead + 1] = found[i]
    end
  end
end
return dead
