"""What the store does in one step, in Lua: one script at a time runs in a server.

Keys of one stream: 1 its table (head, first, last, bytes, ending, cancelled, moved), 2 its chunks
(a stream whose entries' ids are the numbers of their last responses), 3 its lease, 4 whether it is
read elsewhere. All expire.
https://redis.io/docs/latest/develop/programmability/eval-intro/
"""

# Keys: 5 the set of its caller's streams. Args: holder, lease ms, kept ms, head, stream, the time,
# what stands before and behind a stream's id in its table's key. A set does not expire while its
# caller comes: with each stream that is added, some that have expired are looked for. Who
# holds it may ask again, since the answer was late: nothing changes.
BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('GET', KEYS[3]) == ARGV[1] and 1 or 0
end
redis.call('HSET', KEYS[1], 'head', ARGV[4], 'first', 1, 'last', 0, 'bytes', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[5], ARGV[6], ARGV[5])
redis.call('PEXPIRE', KEYS[5], 2 * ARGV[3])
for _, each in ipairs(redis.call('ZRANDMEMBER', KEYS[5], 3)) do
  if redis.call('EXISTS', ARGV[7] .. each .. ARGV[8]) == 0 then
    redis.call('ZREM', KEYS[5], each)
  end
end
return 1
"""

# Args: holder, lease ms, kept ms, after, count, chunk, ending, bytes that may be kept, channel.
# Returns 0, or with 1 where it is to be cancelled, 2 where to be deleted too, 4 where it is read
# elsewhere; -1 where it is not held, -2 where a part is missing. An ending may be written again, as
# for BEGIN.
WRITE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
  return ARGV[7] ~= '' and redis.call('HGET', KEYS[1], 'ending') == ARGV[7] and 0 or -1
end
local known = redis.call('HMGET', KEYS[1], 'last', 'first', 'bytes', 'cancelled')
if not known[1] then return -1 end
local last, first, bytes = tonumber(known[1]), tonumber(known[2]), tonumber(known[3])
local after, count, chunk = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
if after > last then return -2 end
local said = false
if count > 0 and after + count > last then
  if after ~= last then return -2 end
  redis.call('XADD', KEYS[2], (after + count) .. '-0', 'a', after, 'c', chunk)
  bytes = bytes + #chunk
  while bytes > tonumber(ARGV[8]) do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    if not oldest or oldest[1] == (after + count) .. '-0' then break end
    redis.call('XDEL', KEYS[2], oldest[1])
    bytes = bytes - #oldest[2][4]
    first = tonumber(string.match(oldest[1], '^%d+')) + 1
  end
  redis.call('HSET', KEYS[1], 'last', after + count, 'first', first, 'bytes', bytes)
  said = true
end
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'ending', ARGV[7])
  redis.call('DEL', KEYS[3])
  said = true
else
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if said then redis.call('PUBLISH', ARGV[9], '') end
local wish = known[4] == '1' and 3 or known[4] and 1 or 0
return wish + 4 * redis.call('EXISTS', KEYS[4])
"""

# Args: holder, head.
AMEND = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'head', ARGV[2])
return 1
"""

# Args: holder, lease ms. One that has ended, or is to end, is nobody's to run. Who holds it may ask
# again, as for BEGIN.
TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HEXISTS', KEYS[1], 'ending') == 1 then return 0 end
if redis.call('HEXISTS', KEYS[1], 'moved') == 1 then return 0 end
if redis.call('HEXISTS', KEYS[1], 'cancelled') == 1 then return 0 end
if redis.call('GET', KEYS[3]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
return redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""

# Args: holder, channel.
RELEASE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', ARGV[2], '')
return 1
"""

# Args: holder, channel, where to.
MOVE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'moved', ARGV[3])
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', ARGV[2], '')
return 1
"""

# Keys: 5 the set of its caller's streams. Args: holder, stream, channel. One that another has taken
# meanwhile, to its end even, is his.
DROP = """
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', KEYS[1], 'ending') == 1 then return 0 end
if redis.call('HEXISTS', KEYS[1], 'moved') == 1 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('PUBLISH', ARGV[3], '')
return 1
"""

# Args: channel, 1 to delete it too or 0. One that is deleted stays so.
CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HGET', KEYS[1], 'cancelled') ~= '1' then
  redis.call('HSET', KEYS[1], 'cancelled', ARGV[2])
end
redis.call('PUBLISH', ARGV[1], '')
return 1
"""

# Args: fields of the table, whose values come before whether somebody holds it. A transaction would
# be refused while the server is full.
LOOK = """
local known = redis.call('HMGET', KEYS[1], unpack(ARGV))
known[#ARGV + 1] = redis.call('EXISTS', KEYS[3])
return known
"""
