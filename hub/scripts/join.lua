-- Enters a membership and reads what it asks for of the history: all after an
-- ID, or a number of the last messages, newest first.
-- KEYS: members, stream. ARGV: channel, TTL in ms, entry, member, ID or '', number.
local members, stream = KEYS[1], KEYS[2]
local channel, ttl, entry, member, since, count = unpack(ARGV)
enter(members, channel, entry, member)
redis.call('PEXPIRE', members, ttl)
local history = {}
if since ~= '' then
  history = redis.call('XRANGE', stream, '(' .. since, '+')
elseif count ~= '0' then
  history = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', count)
end
return { newest(stream), history }
