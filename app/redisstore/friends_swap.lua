-- Changes how two users stand to each other, both sides or neither.
--
-- KEYS  1, 2 the hashes of the user who acts and of the other one
-- ARGV  1, 2 their names
--       3, 4 the states that they must have, as letters, "" for none
--       5, 6 those that they get
--       7 max 8 pending: see friends.Limits
-- Answers "ok" and the states as they are then, or "changed", or of what the list
-- of the user who acts is full: "friends", "requests", "blocked". A request that
-- the other one's list has no place for changes nothing there.

local function state(i) return redis.call('HGET', KEYS[i], ARGV[3 - i]) or '' end
local function count(i, letter) return tonumber(redis.call('HGET', KEYS[i], '#' .. letter) or 0) end

local max, pending = tonumber(ARGV[7]), tonumber(ARGV[8])
local was, is = {state(1), state(2)}, {ARGV[5], ARGV[6]}
if was[1] == is[1] and was[2] == is[2] then
  return {'ok', is[1], is[2]} -- it was done, and the answer was lost
end
if was[1] ~= ARGV[3] or was[2] ~= ARGV[4] then
  return {'changed'}
end

if is[1] ~= was[1] then
  if is[1] == 'b' and count(1, 'b') >= max then
    return {'blocked'}
  end
  if (is[1] == 'f' or is[1] == 'r') and count(1, 'f') + count(1, 'r') >= max then
    return {'friends'}
  end
  if is[1] == 'r' and count(1, 'r') >= pending then
    return {'requests'}
  end
end
if is[2] == 'a' and was[2] ~= 'a' and count(2, 'a') >= pending then
  is[2] = was[2]
end

local words = {f = 'friend', r = 'requested', a = 'asked', b = 'blocked', [''] = 'none'}
local nodes = hearing({ARGV[1], ARGV[2]})
for i = 1, 2 do
  if is[i] ~= was[i] then
    local other = ARGV[3 - i]
    if was[i] ~= '' and redis.call('HINCRBY', KEYS[i], '#' .. was[i], -1) == 0 then
      redis.call('HDEL', KEYS[i], '#' .. was[i])
    end
    if is[i] == '' then
      redis.call('HDEL', KEYS[i], other)
    else
      redis.call('HINCRBY', KEYS[i], '#' .. is[i], 1)
      redis.call('HSET', KEYS[i], other, is[i])
    end
    if was[i] == 'f' and redis.call('HEXISTS', KEYS[i], '#f') == 0 then
      redis.call('HDEL', KEYS[i], '#t')
    end
  end
end
for i = 1, 2 do
  if is[i] ~= was[i] and nodes[i] > 0 then
    local other, there, seen = ARGV[3 - i], nil, nil
    if is[i] == 'f' then
      there, seen = status(other, nodes[3 - i])
    end
    redis.call('PUBLISH', inbox(ARGV[i]), push(other, words[is[i]], there, seen))
  end
end
return {'ok', is[1], is[2]}
