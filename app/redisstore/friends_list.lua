-- Answers the user's own status, and then all to whom the user stands in some way: of
-- each the name and the letter of the state; of friends also the status, and when they
-- were last seen.
--
-- KEYS  1 the user's hash
-- ARGV  1 the user's name

local friends, list = {ARGV[1]}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i + 1] == 'f' then
    friends[#friends + 1] = all[i]
  elseif string.sub(all[i], 1, 1) ~= '#' then
    list[#list + 1] = {all[i], all[i + 1]}
  end
end
local nodes = hearing(friends)
for i = 2, #friends do
  local there, seen = status(friends[i], nodes[i])
  list[#list + 1] = {friends[i], 'f', there, seen or '0'}
end
local own = status(ARGV[1], nodes[1])
return {own, list}
