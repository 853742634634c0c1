-- Functions shared by the other scripts. This file is prepended to each of them.

-- nextVersion increments the version (v) of a room's members and returns it. A
-- server that receives version 7 after version 5 knows that it has missed one.
-- Versions start at the current time in microseconds, which is also the epoch
-- (b). So when the members are created again, the versions are higher than
-- before. The version is returned as text, because Lua would convert a number of
-- this size to one with an exponent.
local function nextVersion(members)
  if redis.call('EXISTS', members) == 0 then
    local now = redis.call('TIME')
    local epoch = now[1] .. string.format('%06d', now[2])
    redis.call('HSET', members, 'b', epoch, 'v', epoch)
  end
  redis.call('HINCRBY', members, 'v', 1)
  return redis.call('HGET', members, 'v')
end

local function addEntry(members, channel, entry, member)
  if redis.call('HEXISTS', members, entry) == 1 then return end
  local version = nextVersion(members)
  redis.call('HSET', members, entry, member)
  redis.call('PUBLISH', channel, '+ ' .. version .. ' ' .. entry .. ' ' .. member)
end

local function newest(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1] or '0-0'
end
