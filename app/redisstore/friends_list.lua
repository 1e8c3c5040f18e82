-- Answers all to whom a user stands in some way: of each the name and the letter of
-- the state; of friends also the status, and when they were last seen.
--
-- KEYS  1 the user's hash

local friends, list = {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i + 1] == 'f' then
    friends[#friends + 1] = all[i]
  elseif string.sub(all[i], 1, 1) ~= '#' then
    list[#list + 1] = {all[i], all[i + 1]}
  end
end
for i, nodes in ipairs(hearing(friends)) do
  local there, seen = status(friends[i], nodes)
  list[#list + 1] = {friends[i], 'f', there, seen or '0'}
end
return list
