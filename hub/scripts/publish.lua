-- Appends a message to the stream and publishes it, unless the history already
-- has a message with its key. Both happen in one script so that messages are
-- published in the order of the stream. Each message includes the ID of the one
-- before it, so that a receiver notices if it has missed one. Returns the ID.
-- KEYS: stream, keys. ARGV: PUBLISH or SPUBLISH, channel, key, escaped sender,
-- data, how many messages to keep, TTL in ms.
--
-- The number of calls is kept low: usually five. The hash of keys has a field
-- without a name, with what the next call needs to know, separated by spaces: the
-- ID of the newest message, how many messages were published, the cursor of
-- forget, and when the TTLs were last extended.

local stream, keys = KEYS[1], KEYS[2]
local publish, channel, key, sender, data, keep, ttl = unpack(ARGV)

-- nextID returns an ID from the current time. It is higher than prev even if the
-- clock is behind. The second part includes a hash of the key: after a failover,
-- a message may take the place of one that was lost, and the two must not have
-- the same ID.
local function nextID(now, prev)
  local ms, seq = string.match(prev, '(%d+)-(%d+)')
  local hash = tonumber(string.sub(redis.sha1hex(key), 1, 6), 16)
  if now > tonumber(ms) then return string.format('%.0f-%.0f', now, hash) end
  return string.format('%s-%.0f', ms, seq + 1 + hash)
end

local function isBefore(a, b)
  local ms1, seq1 = string.match(a, '(%d+)-(%d+)')
  local ms2, seq2 = string.match(b, '(%d+)-(%d+)')
  if ms1 ~= ms2 then return tonumber(ms1) < tonumber(ms2) end
  return tonumber(seq1) < tonumber(seq2)
end

-- forget removes keys of messages that were trimmed. Each call scans another part
-- of the hash, so that none takes long. It returns the new cursor.
local function forget(cursor)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1]
  local scan = redis.call('HSCAN', keys, cursor, 'COUNT', 200)
  local old = {}
  for i = 1, #scan[2], 2 do
    local name = scan[2][i]
    if name ~= '' and isBefore(scan[2][i + 1], oldest) then old[#old + 1] = name end
  end
  if #old > 0 then redis.call('HDEL', keys, unpack(old, 1, math.min(#old, 1000))) end
  return scan[1]
end

local known = redis.call('HMGET', keys, key, '')
local existing = known[1]
if existing and redis.call('XRANGE', stream, existing, existing)[1] then return existing end

local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local prev, published, cursor, extended = string.match(known[2] or '', '^(%d+%-%d+) (%d+) (%d+) (%d+)$')
prev = prev or newest(stream)
local function append(call)
  return call('XADD', stream, 'MAXLEN', keep, nextID(now, prev), 'p', prev, 'k', key, 's', sender, 'd', data)
end
local id = append(redis.pcall)
if type(id) == 'table' then -- an error: the stream has a newer message than the hash says
  prev = newest(stream)
  id = append(redis.call)
end

published = (published or 0) + 1
cursor = cursor or '0'
if published % 50 == 0 then cursor = forget(cursor) end
-- The keys live for up to an eighth longer, so that this isn't needed each time.
if not extended or math.abs(now - extended) >= ttl / 8 then
  extended = now
end
redis.call('HSET', keys, key, id, '', string.format('%s %.0f %s %.0f', id, published, cursor, extended))
if extended == now then
  local longer = string.format('%.0f', ttl * 9 / 8)
  redis.call('PEXPIRE', stream, longer)
  redis.call('PEXPIRE', keys, longer)
end
local from = sender == '' and '' or ' ' .. sender
redis.call(publish, channel, 'm ' .. id .. ' ' .. prev .. from .. '\n' .. data)
return id
