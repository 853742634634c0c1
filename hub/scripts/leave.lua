-- Removes entries from a room's members.
-- KEYS: members. ARGV: PUBLISH or SPUBLISH, channel, TTL in ms, entries.
local members = KEYS[1]
local publish, channel, ttl = unpack(ARGV, 1, 3)
for i = 4, #ARGV do
  if redis.call('HDEL', members, ARGV[i]) == 1 then
    redis.call(publish, channel, '- ' .. nextVersion(members, ttl) .. ' ' .. ARGV[i])
  end
end
if redis.call('HLEN', members) == 2 then redis.call('DEL', members) end
return 'OK'
