-- Adds a server's entries again if Redis has lost them, and reads what the server
-- needs to follow the room from here on: the ID of the newest message, the
-- messages after the last one that the server has, and the members.
-- KEYS: members, stream. ARGV: channel, TTL in ms, ID of the last message that the
-- server has or '', limit of messages to read, and for each of the server's
-- memberships an entry and a member.
local members, stream = KEYS[1], KEYS[2]
local channel, ttl, last, limit = unpack(ARGV, 1, 4)
if redis.call('EXISTS', members) == 0 then nextVersion(members) end
for i = 5, #ARGV, 2 do
  addEntry(members, channel, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', members, ttl)
local missed = {}
if last ~= '' then
  missed = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', limit)
end
return { newest(stream), missed, redis.call('HGETALL', members) }
