-- Appends a message to the stream and publishes it, unless the history already
-- has a message with its key. Both happen in one script so that messages are
-- published in the order of the stream. Each message includes the ID of the one
-- before it, so that a receiver notices if it has missed one. Returns the ID.
-- KEYS: stream, keys. ARGV: channel, key, data, how many messages to keep, TTL in
-- ms.

-- nextID returns an ID from the current time. It is higher than prev even if the
-- clock is behind. The second part includes a hash of the key: after a failover,
-- a message may take the place of one that was lost, and the two must not have
-- the same ID.
local function nextID(prev, key)
  local ms, seq = string.match(prev, '(%d+)-(%d+)')
  local hash = tonumber(string.sub(redis.sha1hex(key), 1, 6), 16)
  local now = redis.call('TIME')
  now = now[1] * 1000 + math.floor(now[2] / 1000)
  if now > tonumber(ms) then return string.format('%.0f-%.0f', now, hash) end
  return string.format('%s-%.0f', ms, seq + 1 + hash)
end

local stream, keys = KEYS[1], KEYS[2]
local channel, key, data, keep, ttl = unpack(ARGV)
local existing = redis.call('HGET', keys, key)
if existing then return existing end

local prev = newest(stream)
local id = redis.call('XADD', stream, nextID(prev, key), 'p', prev, 'k', key, 'd', data)
redis.call('HSET', keys, key, id)
local over = math.min(redis.call('XLEN', stream) - keep, 100)
if over > 0 then
  for _, old in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', over)) do
    redis.call('HDEL', keys, old[2][4])
    redis.call('XDEL', stream, old[1])
  end
end
redis.call('PEXPIRE', stream, ttl)
redis.call('PEXPIRE', keys, ttl)
redis.call('PUBLISH', channel, 'm ' .. id .. ' ' .. prev .. '\n' .. data)
return id
