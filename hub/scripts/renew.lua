-- Renews a server's lease. Returns 1 if the lease had expired or didn't exist,
-- and the list of servers whose lease has expired.
-- KEYS: servers. ARGV: server, lease in ms, how long to keep expired leases in ms.
local servers = KEYS[1]
local server, lease, keep = unpack(ARGV)
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local ends = redis.call('ZSCORE', servers, server)
local expired = (not ends or tonumber(ends) < now) and 1 or 0
redis.call('ZREMRANGEBYSCORE', servers, '-inf', string.format('%.0f', now - keep))
redis.call('ZADD', servers, string.format('%.0f', now + lease), server)
redis.call('PEXPIRE', servers, keep)
return { expired, redis.call('ZRANGEBYSCORE', servers, '-inf', string.format('(%.0f', now)) }
