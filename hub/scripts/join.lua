-- Adds an entry to a room's members and reads part of the history.
-- KEYS: members, stream. ARGV: PUBLISH or SPUBLISH, channel, TTL in ms, entry,
-- member, ID or '', how many messages.
local members, stream = KEYS[1], KEYS[2]
local publish, channel, ttl, entry, member, since, count = unpack(ARGV)
addEntry(members, ttl, publish, channel, entry, member)
return history(stream, since, count)
