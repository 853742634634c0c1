-- Reads what a server needs to follow a room from here on: the ID of the newest
-- message, a page of the messages after the last one that the server has, how many
-- fields the hash of members has, its version and epoch, and its fields if they aren't
-- too many. Otherwise the server reads them with HSCAN, and then applies the changes
-- that it has received since.
-- KEYS: members, stream, keys. ARGV: TTLs of the members and of the others in ms, ID of
-- the last message that the server has or '', bytes of a page, limit of fields to read,
-- or -1 for a room without presence.
local members, stream = KEYS[1], KEYS[2]
local ttl, longer, last, bytes, limit = unpack(ARGV)
redis.call('PEXPIRE', stream, longer)
redis.call('PEXPIRE', KEYS[3], longer)
local missed = {}
if last ~= '' then missed = readAfter(stream, last, math.huge, tonumber(bytes)) end
local fields, size, state = {}, 0, {}
if limit ~= '-1' then
  redis.call('PEXPIRE', members, ttl)
  size = redis.call('HLEN', members)
  if size <= tonumber(limit) then
    fields = redis.call('HGETALL', members)
  end
  state = redis.call('HMGET', members, 'v', 'b')
end
return { newest(stream), missed, size, state[1] or '0', state[2] or '', fields }
