#!lua
-- Adds an entry to a queue that has room for it.
--
-- KEYS  1 stream
-- ARGV  1 how many entries may wait    then field, value, field, value, …
-- Answers its ID; the error FULL.

if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return redis.error_reply('FULL too many entries wait')
end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
