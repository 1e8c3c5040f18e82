-- Notes whether a user is there on a node, and tells friends if it is there at all,
-- or not, and they were told otherwise.
--
-- KEYS  1 the users of the node 2 the nodes that have users
-- ARGV  1 name 2 node 3 "1": it is there
-- Answers as look does.

if ARGV[3] == '1' then
  redis.call('SADD', KEYS[2], ARGV[2])
  redis.call('SADD', KEYS[1], ARGV[1])
else
  redis.call('SREM', KEYS[1], ARGV[1])
end
return look(ARGV[1])
