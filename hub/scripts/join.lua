-- Adds an entry to a room's members and reads part of the history: all messages
-- after an ID, or the last messages, newest first. Returns the ID of the newest
-- message and the messages.
-- KEYS: members, stream. ARGV: channel, TTL in ms, entry, member, ID or '', how
-- many messages.
local members, stream = KEYS[1], KEYS[2]
local channel, ttl, entry, member, since, count = unpack(ARGV)
addEntry(members, channel, entry, member)
redis.call('PEXPIRE', members, ttl)
local history = {}
if since ~= '' then
  history = redis.call('XRANGE', stream, '(' .. since, '+')
elseif count ~= '0' then
  history = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', count)
end
return { newest(stream), history }
