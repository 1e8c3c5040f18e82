#!lua
-- Keeps what a ticket stands for.
--
-- KEYS  1 ticket      a hash: what it stands for, sealed, and who has used it
-- ARGV  1 sealed      2 for how long, in milliseconds

redis.call('HSET', KEYS[1], 'sealed', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
