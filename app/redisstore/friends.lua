-- What the scripts of friends have in common.
--
-- A user's hash has a field for each user to whom this one stands in some way: the
-- name as it stands in the other's inbox, and the first letter of the state (friend,
-- requested, asked, blocked). Fields that begin with '#' are no names: '#f' and so
-- on count the states; '#s' is the status that friends were told last, 'o' for
-- online and 'a' for away, and is not there when that was offline; '#t' is when the
-- user was last seen, in milliseconds.

local function hash(name) return 'chatring:{@' .. name .. '}:friends' end
local function inbox(name) return 'chatring:{@' .. name .. '}' end

-- hearing returns how many nodes hear each inbox.
local function hearing(names)
  local nodes = {}
  for first = 1, #names, 1000 do
    local channels = {}
    for i = first, math.min(first + 999, #names) do
      channels[#channels + 1] = inbox(names[i])
    end
    local found = redis.call('PUBSUB', 'NUMSUB', unpack(channels))
    for i = 2, #found, 2 do
      nodes[#nodes + 1] = found[i]
    end
  end
  return nodes
end

-- status returns a user's status, and when one who is offline was last seen.
local function status(name, nodes)
  if nodes == 0 then
    return 'offline', redis.call('HGET', hash(name), '#t')
  end
  return redis.call('HGET', hash(name), '#s') == 'a' and 'away' or 'online', false
end

-- push is what an inbox hears of a user: a signal from no node, so that every node
-- listens to it.
local function push(name, state, status, seen)
  local user = name:gsub('=(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)
  local p = 's friends s{"push":"friend","user":' .. cjson.encode(user) .. ',"state":"' .. state .. '"'
  if status then
    p = p .. ',"status":"' .. status .. '"'
  end
  if seen then
    p = p .. ',"last_seen":' .. seen
  end
  return p .. '}'
end

-- tell lets the friends of a user hear of its status, those who are there, and
-- returns how many inboxes that were.
local function tell(name, status, seen)
  local friends, told = {}, 0
  local all = redis.call('HGETALL', hash(name))
  for i = 1, #all, 2 do
    if all[i + 1] == 'f' then
      friends[#friends + 1] = all[i]
    end
  end
  local said = push(name, 'friend', status, seen)
  for i, nodes in ipairs(hearing(friends)) do
    if nodes > 0 then
      redis.call('PUBLISH', inbox(friends[i]), said)
      told = told + 1
    end
  end
  return told
end

-- look tells friends if a user's status is another one than they were told last.
-- It returns whether it is, and to how many inboxes that was said.
local function look(name)
  local there = hearing({name})[1] > 0
  if there == (redis.call('HEXISTS', hash(name), '#s') == 1) then
    return {0, 0}
  end
  if there then
    redis.call('HSET', hash(name), '#s', 'o')
    return {1, tell(name, 'online')}
  end
  redis.call('HDEL', hash(name), '#s')
  local seen = false
  if redis.call('HEXISTS', hash(name), '#f') == 1 then
    local now = redis.call('TIME')
    seen = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
    redis.call('HSET', hash(name), '#t', seen)
  end
  return {1, tell(name, 'offline', seen)}
end
