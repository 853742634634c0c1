-- Functions shared by the other scripts. This file is prepended to each of them.

-- nextVersion increments the version (v) of a room's members and returns it. A
-- server that receives version 7 after version 5 knows that it has missed one.
-- Versions start at the current time in microseconds, which is also the epoch
-- (b). So when the members are created again, the versions are higher than
-- before. The version is returned as text, because Lua would convert a number of
-- this size to one with an exponent.
local function nextVersion(members, ttl)
  local version = redis.call('HINCRBY', members, 'v', 1)
  if version == 1 then
    local now = redis.call('TIME')
    local epoch = now[1] .. string.format('%06d', now[2])
    redis.call('HSET', members, 'b', epoch, 'v', epoch)
    redis.call('PEXPIRE', members, ttl)
    version = redis.call('HINCRBY', members, 'v', 1)
  end
  return string.format('%.0f', version)
end

local function addEntry(members, ttl, publish, channel, entry, member)
  if redis.call('HSETNX', members, entry, member) == 0 then return end
  redis.call(publish, channel, '+ ' .. nextVersion(members, ttl) .. ' ' .. entry .. ' ' .. member)
end

local function newest(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1] or '0-0'
end

-- history reads the first count messages after an ID, oldest first, or if the ID is
-- '', the last count messages, newest first. It returns the ID of the newest message
-- of the stream, and the messages.
local function history(stream, since, count)
  if since ~= '' then
    return { newest(stream), redis.call('XRANGE', stream, '(' .. since, '+', 'COUNT', count) }
  end
  local messages = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', math.max(count, 1))
  local last = messages[1] and messages[1][1] or '0-0'
  return { last, count == '0' and {} or messages }
end
