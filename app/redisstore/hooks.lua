-- What the scripts of the hooks share. Who is in a room, and whether a user is
-- there, is what Redis' subscriber table says; the hash keeps what the application
-- was told of it last, so that each change is told once, by whichever node sees it
-- first.
--
-- KEYS  1 occupied     rooms in which somebody is, as told: "", or since when
--                      nobody hears them, in milliseconds
--       2 queue        what the application is to be told
-- ARGV  1 backlog      how many entries may wait there, roughly; the oldest go

local occupied, queue, backlog = KEYS[1], KEYS[2], ARGV[1]

local function tell(room, others)
  local inbox = string.sub(room, 1, 1) == '@'
  local event = inbox and (others and 'user_online' or 'user_offline')
    or (others and 'room_occupied' or 'room_vacated')
  redis.call('XADD', queue, 'MAXLEN', '~', backlog, '*', 'type', event, 'room', room)
end

-- How many connections hear each of some rooms, a thousand at the most.
local function heard(rooms)
  local channels = {}
  for i, room in ipairs(rooms) do
    channels[i] = 'chatring:{' .. room .. '}'
  end
  local found, by = redis.call('PUBSUB', 'NUMSUB', unpack(channels)), {}
  for i = 1, #rooms do
    by[i] = found[2 * i]
  end
  return by
end
