
-- Hears that nobody is any more in rooms of one node, those of ARGV from 2 on, at
-- most a thousand. Those that another one hears are occupied still.

local rooms = { unpack(ARGV, 2) }
for i, n in ipairs(heard(rooms)) do
  if n == 0 and redis.call('HDEL', occupied, rooms[i]) == 1 then
    tell(rooms[i], false)
  end
end
