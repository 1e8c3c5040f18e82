#!lua
-- Makes somebody the one who has used a ticket, unless another one has.
--
-- KEYS  1 ticket      see tickets_keep.lua
-- ARGV  1 who         2 for how long the ticket is kept from now on, in milliseconds
-- Answers 1, or 0 when another one has, or there is no such ticket.

local kept = redis.call('HMGET', KEYS[1], 'sealed', 'user')
if not kept[1] or kept[2] and kept[2] ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'user', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
