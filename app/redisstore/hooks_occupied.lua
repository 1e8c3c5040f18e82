
-- Hears that somebody is in rooms, those of ARGV from 2 on.

for i = 2, #ARGV do
  if redis.call('HSET', occupied, ARGV[i], '') == 1 then
    tell(ARGV[i], true)
  end
end
