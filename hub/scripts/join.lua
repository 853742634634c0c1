-- Adds entries to a room's members and reads a page of the history.
-- KEYS: members, stream. ARGV: PUBLISH or SPUBLISH, channel, TTL in ms, ID or '', how
-- many messages, bytes of a page, and entries, each followed by its member.
local members, stream = KEYS[1], KEYS[2]
local publish, channel, ttl, since, count, bytes = unpack(ARGV, 1, 6)
for i = 7, #ARGV, 2 do
  addEntry(members, ttl, publish, channel, ARGV[i], ARGV[i + 1])
end
return history(stream, since, count, bytes)
