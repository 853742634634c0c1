-- Adds a server's entries again if Redis has lost them, and reads what the server
-- needs to follow the room from here on: the ID of the newest message, the
-- messages after the last one that the server has, and the members.
-- KEYS: members, stream. ARGV: PUBLISH or SPUBLISH, channel, TTL in ms, ID of the
-- last message that the server has or '', limit of messages to read, 1 for a room
-- with presence, and for each of the server's memberships an entry and a member.
local members, stream = KEYS[1], KEYS[2]
local publish, channel, ttl, last, limit, presence = unpack(ARGV, 1, 6)
local present = {}
if presence == '1' then
  for i = 7, #ARGV, 2 do
    addEntry(members, ttl, publish, channel, ARGV[i], ARGV[i + 1])
  end
  redis.call('PEXPIRE', members, ttl)
  present = redis.call('HGETALL', members)
end
local missed = {}
if last ~= '' then
  missed = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', limit)
end
return { newest(stream), missed, present }
