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

-- readAfter reads messages after an ID, oldest first: at most count, and no more when
-- they have that many bytes. It reads a few first, to learn how large they are.
local function readAfter(stream, id, count, bytes)
  local messages, size, step = {}, 0, 8
  while size < bytes and #messages < count do
    local want = math.min(step, count - #messages)
    local part = redis.call('XRANGE', stream, '(' .. id, '+', 'COUNT', want)
    for _, message in ipairs(part) do
      if size >= bytes then break end
      messages[#messages + 1] = message
      size = size + #message[2][#message[2]]
    end
    if #part < want then break end
    id = part[#part][1]
    step = math.max(1, math.min(512, math.ceil((bytes - size) / (size / #messages + 1))))
  end
  return messages
end

-- readLast reads the last count messages, oldest first, if they have fewer than that
-- many bytes. Otherwise it returns nothing and the ID before them.
local function readLast(stream, count, bytes)
  local messages, size, from, before = {}, 0, '+', '0-0'
  while count > 0 do
    local want = math.min(count, 64)
    local part = redis.call('XREVRANGE', stream, from, '-', 'COUNT', want)
    for _, message in ipairs(part) do
      before = message[2][2]
      size = size + #message[2][#message[2]]
      if size < bytes then messages[#messages + 1] = message end
    end
    if #part < want then break end
    from, count = '(' .. part[#part][1], count - want
  end
  if size >= bytes then return nil, before end
  for i = 1, #messages / 2 do
    messages[i], messages[#messages + 1 - i] = messages[#messages + 1 - i], messages[i]
  end
  return messages
end

-- history reads a page of the history: messages after an ID, or if the ID is '', of
-- the last count messages. It returns the ID of the newest message of the stream, and
-- the messages, oldest first. A page ends when it has that many bytes.
local function history(stream, since, count, bytes)
  count, bytes = tonumber(count), tonumber(bytes)
  local messages
  if since == '' and count == 0 then
    messages = {}
  elseif since == '' then
    messages, since = readLast(stream, count, bytes)
  end
  return { newest(stream), messages or readAfter(stream, since, count, bytes) }
end
