-- Removes entries from a room's members.
-- KEYS: members. ARGV: channel, entries.
local members = KEYS[1]
for i = 2, #ARGV do
  if redis.call('HDEL', members, ARGV[i]) == 1 then
    redis.call('PUBLISH', ARGV[1], '- ' .. nextVersion(members) .. ' ' .. ARGV[i])
  end
end
if redis.call('HLEN', members) == 2 then redis.call('DEL', members) end
return 'OK'
