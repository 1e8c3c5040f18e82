#!lua flags=allow-oom
-- Removes consumers that have nothing pending: those of runs that are over.
--
-- KEYS  1 stream     2 reader
-- ARGV  1 group      2 consumer
--       3 leave      "leave" when the consumer itself leaves: another may read
--                     at once, and what it had pending was no death's fault

local stream, reader, group, me, leaves = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3] == 'leave'

if redis.call('GET', reader) ~= me then
  return
end
if redis.pcall('XPENDING', stream, group).err then
  redis.call('DEL', reader)
  return
end
if leaves then
  redis.call('DEL', reader)
  for _, p in ipairs(redis.call('XPENDING', stream, group, '-', '+', 10000, me)) do
    redis.call('XCLAIM', stream, group, me, 0, p[1], 'RETRYCOUNT', math.max(0, p[4] - 1), 'JUSTID')
  end
end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local name, has = consumer[2], consumer[4]
  if has == 0 and (leaves or name ~= me) then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, name)
  end
end
