-- Enters a server's memberships where Redis has lost them, and reads what the
-- server needs to follow the room from here on: who is in it, the newest
-- message, and the messages after the last that the server has, unless that is ''.
-- KEYS: members, stream. ARGV: channel, TTL in ms, last ID or '', how many
-- messages at most, and an entry and a member for each membership.
local members, stream = KEYS[1], KEYS[2]
local channel, ttl, last, most = unpack(ARGV, 1, 4)
if redis.call('EXISTS', members) == 0 then changed(members) end
for i = 5, #ARGV, 2 do
  enter(members, channel, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', members, ttl)
local missed = {}
if last ~= '' then
  missed = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', most)
end
return { newest(stream), missed, redis.call('HGETALL', members) }
