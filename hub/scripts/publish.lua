-- Appends a message to the stream and publishes it, in one step, so that the
-- order of what is published is that of the stream. Each message names the one
-- before it: who gets it knows whether that is the last it has.
-- KEYS: stream, keys. ARGV: channel, key, data, how many to keep, TTL in ms.

-- following is the ID of the message after prev: by the clock, and later than
-- prev even where that is behind. After a failover, a message can come to stand
-- where another was that has been lost. Its ID has a hash of its key in it, lest
-- who has the other be thought to have this one.
local function following(prev, key)
  local ms, seq = string.match(prev, '(%d+)-(%d+)')
  local hash = tonumber(string.sub(redis.sha1hex(key), 1, 6), 16)
  local now = redis.call('TIME')
  now = now[1] * 1000 + math.floor(now[2] / 1000)
  if now > tonumber(ms) then return string.format('%.0f-%.0f', now, hash) end
  return string.format('%s-%.0f', ms, seq + 1 + hash)
end

local stream, keys = KEYS[1], KEYS[2]
local channel, key, data, keep, ttl = unpack(ARGV)
local before = redis.call('HGET', keys, key)
if before then return before end

local prev = newest(stream)
local id = redis.call('XADD', stream, following(prev, key), 'p', prev, 'k', key, 'd', data)
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
