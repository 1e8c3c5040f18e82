-- Notes what a user says of its status, and tells friends if that is another one.
--
-- KEYS  1 the user's hash
-- ARGV  1 name 2 "o" or "a"
-- Answers whether the user is there, and how many inboxes were told.

if hearing({ARGV[1]})[1] == 0 then
  return {0, 0}
end
if redis.call('HGET', KEYS[1], '#s') == ARGV[2] then
  return {1, 0}
end
redis.call('HSET', KEYS[1], '#s', ARGV[2])
return {1, tell(ARGV[1], ARGV[2] == 'a' and 'away' or 'online')}
