#!lua flags=allow-oom
-- Tells the nodes that listen to a channel something that is kept nowhere.
--
-- ARGV  1 own         the channel of the connection on which the telling node
--                     hears this channel too; "" if it does not
--       2 channel     3 message
-- Answers how many others listen; with none, nothing is published.

local n = redis.call('PUBSUB', 'NUMSUB', ARGV[2], ARGV[1])
local listening = n[2] - (n[4] > 0 and 1 or 0)
if listening > 0 then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return listening
