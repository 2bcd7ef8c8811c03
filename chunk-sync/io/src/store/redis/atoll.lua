#!lua name=@LIBRARY@
-- What a commit does, on Redis: the same rule as chunk_sync::store::apply, line by line; one suite checks both.
-- It checks everything first and writes afterwards, since Redis undoes nothing. Numbers of 64 bits are 16 hex
-- digits, because a Lua number cannot hold them; documents and events are bytes that it never looks into.
--
-- A partition is a hash: t = its newest tokens, d:NAME = version and document, e:NAME = epoch, l:NAME = holder
-- and end of a lease. Beside it lie a list, the log: previous token, token, packed events; a hash of actors: newest
-- session epoch, up to which id acts are forgotten, then each act: id, token, four digits of length, result; a
-- sorted set of the same actors by when they were seen last. An index of a shard is a sorted set of its keys, all
-- of score 0, and a hash of their values. The ledger of a shard is a stream whose entries are numbered 0-1, 0-2…; it
-- stays when it is empty, and with it the last number.

local NONE = '0000000000000000'
local RESEND_MAX, LOG_MAX, ROWS_MAX = @RESEND_MAX@, @LOG_MAX@, @ROWS_MAX@
local ACTS_MAX, ACTORS_MAX, FORGOTTEN_TOGETHER_MAX = @ACTS_MAX@, @ACTORS_MAX@, @FORGOTTEN_TOGETHER_MAX@
local INDEX_MAX, LEDGER_MAX = @INDEX_MAX@, @LEDGER_MAX@

-- While a library loads, Redis hides `string` from it: a function may name it, a local here may not.
local function sub(text, first, last) return string.sub(text, first, last) end

-- Compared in halves as numbers: strings would compare by the server's locale.
local function less(a, b)
  local a_high, b_high = tonumber(sub(a, 1, 8), 16), tonumber(sub(b, 1, 8), 16)
  if a_high ~= b_high then return a_high < b_high end
  return tonumber(sub(a, 9, 16), 16) < tonumber(sub(b, 9, 16), 16)
end

local function hex(number)
  return string.format('%08x%08x', math.floor(number / 4294967296), number % 4294967296)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether the server has not answered for long enough yet, counted from its start; when it was promoted ever since,
-- from the first time that somebody asks, which it writes down beside its run's name.
local function young(served_key, ms, guard_ms)
  local info = redis.call('INFO')
  local run = string.match(info, 'run_id:(%x+)')
  local since_ms = ms - tonumber(string.match(info, 'uptime_in_seconds:(%d+)')) * 1000
  if not string.match(info, 'master_replid2:0+%s') then
    local known = redis.call('GET', served_key)
    if known and sub(known, 1, #run) == run then
      since_ms = tonumber(sub(known, #run + 2))
    else
      since_ms = ms
      redis.call('SET', served_key, run .. ' ' .. string.format('%.0f', ms))
    end
  end
  return ms - since_ms < tonumber(guard_ms)
end

-- What was before `token`, if it is one of the newest commits.
local function previous_of(recent, token)
  local last = math.min(#recent, 16 * RESEND_MAX)
  for at = 1, last, 16 do
    if sub(recent, at, at + 15) == token then
      local previous = sub(recent, at + 16, at + 31)
      return previous ~= '' and previous or NONE
    end
  end
end

-- What memory alone says against an act.
local function judge_act(memory, act)
  if not memory then return end
  local at = 33
  while at <= #memory do
    local length = tonumber(sub(memory, at + 32, at + 35), 16)
    if sub(memory, at, at + 15) == act.id then
      return { 'repeated', sub(memory, at + 16, at + 31), sub(memory, at + 36, at + 35 + length) }
    end
    at = at + 36 + length
  end
  local forgotten = sub(memory, 17, 32)
  if not less(forgotten, act.id) then return { 'forgotten', forgotten } end
  if less(act.epoch, sub(memory, 1, 16)) then return { 'fenced', sub(memory, 1, 16) } end
end

-- The memory of an actor with an act more, without those that it confirms; nothing when there is no room for it.
local function remembered(memory, act, token)
  local forgotten, kept, acts = act.confirmed, {}, 1
  if memory then
    local before = sub(memory, 17, 32)
    if less(forgotten, before) then forgotten = before end
    local at = 33
    while at <= #memory do
      local ends = at + 35 + tonumber(sub(memory, at + 32, at + 35), 16)
      if less(forgotten, sub(memory, at, at + 15)) then
        kept[#kept + 1] = sub(memory, at, ends)
        acts = acts + 1
      end
      at = ends + 1
    end
  end
  if acts > ACTS_MAX then return end
  local length = string.format('%04x', #act.result)
  return act.epoch .. forgotten .. table.concat(kept) .. act.id .. token .. length .. act.result
end

-- Which actors have to be forgotten for one more; nothing when that is not possible.
local function idle_for(actors, seen, ms, idle_ms)
  if redis.call('HLEN', actors) < ACTORS_MAX then return {} end
  local since = string.format('%.0f', ms - idle_ms)
  local idle = redis.call('ZRANGE', seen, '-inf', since, 'BYSCORE', 'LIMIT', 0, FORGOTTEN_TOGETHER_MAX)
  if #idle > 0 then return idle end
end

local function judge_lease(lease, code, name, holder, now, guard)
  local theirs, ends = lease and sub(lease, 1, 16), lease and sub(lease, 17, 32)
  if code == 'lt' or code == 'lx' then
    if not lease or (code == 'lt' and theirs == holder) then return end
    if not less(now, ends) then return young(guard.key, guard.ms, guard.guard_ms) and { 'young' } or nil end
    if code == 'lt' then return { 'held', name, theirs, ends } end
    return { 'unexpired', name, ends }
  end
  if theirs ~= holder then return { 'lost', name } end
end

-- Each step is four arguments: code, name, and up to two values.
local function judge(partition, args, first, now, guard)
  for at = first, #args, 4 do
    local code, name, value = args[at], args[at + 1], args[at + 2]
    local kind = sub(code, 1, 1)
    if kind == 'p' then
      local document = redis.call('HGET', partition, 'd:' .. name)
      local current = document and sub(document, 1, 16) or ''
      if current ~= value then return { 'conflict', name, current } end
    elseif kind == 'e' then
      local current = redis.call('HGET', partition, 'e:' .. name) or NONE
      local fits
      if code == 'eq' then fits = current == value else fits = less(current, value) end
      if not fits then return { 'epoch', name, current } end
    elseif kind == 'l' then
      local lease = redis.call('HGET', partition, 'l:' .. name)
      local refusal = judge_lease(lease, code, name, value, now, guard)
      if refusal then return refusal end
    end
  end
end

local ADDS = { ws = 'd:', er = 'e:', lt = 'l:' }

-- Whether the partition has room; looks closer only when it is nearly full.
local function full(partition, args, first, touched, recent)
  local rows = redis.call('HLEN', partition)
  if recent ~= '' then rows = rows - 1 end
  if rows + touched <= ROWS_MAX then return false end
  local added = 0
  for at = first, #args, 4 do
    local prefix = ADDS[args[at]]
    if prefix and redis.call('HEXISTS', partition, prefix .. args[at + 1]) == 0 then added = added + 1 end
  end
  return added > 0 and rows + added > ROWS_MAX
end

local function write(partition, args, first, now, token, recent)
  local set, removed = { 't', token .. sub(recent, 1, 16 * RESEND_MAX) }, {}
  local function put(field, value)
    set[#set + 1] = field
    set[#set + 1] = value
  end
  for at = first, #args, 4 do
    local code, name, value = args[at], args[at + 1], args[at + 2]
    if code == 'ws' then put('d:' .. name, value)
    elseif code == 'wd' then removed[#removed + 1] = 'd:' .. name
    elseif code == 'er' then put('e:' .. name, value)
    elseif code == 'lt' or code == 'ln' then put('l:' .. name, value .. hex(now + tonumber(args[at + 3])))
    elseif code == 'lr' then removed[#removed + 1] = 'l:' .. name
    end
  end
  if #removed > 0 then redis.call('HDEL', partition, unpack(removed)) end
  redis.call('HSET', partition, unpack(set))
end

-- Whether an index would have too many entries: the name of the first such. An index step is a code, the place of
-- the index among KEYS, key and value; there are `steps` of them.
local function index_full(keys, args, first, steps)
  local added = {}
  for at = first, #args, 4 do
    if args[at] == 'ip' then
      local place = args[at + 1]
      local index = keys[tonumber(place)]
      local entries = redis.call('ZCARD', index)
      if entries + steps > INDEX_MAX and not redis.call('ZSCORE', index, args[at + 2]) then
        added[place] = (added[place] or 0) + 1
        if entries + added[place] > INDEX_MAX then return { 'index', place } end
      end
    end
  end
end

local function write_index(keys, args, first)
  for at = first, #args, 4 do
    local code = args[at]
    if code == 'ip' or code == 'id' then
      local place, key = tonumber(args[at + 1]), args[at + 2]
      if code == 'ip' then
        redis.call('ZADD', keys[place], 0, key)
        redis.call('HSET', keys[place + 1], key, args[at + 3])
      else
        redis.call('ZREM', keys[place], key)
        redis.call('HDEL', keys[place + 1], key)
      end
    end
  end
end

-- Writes again what is there, so that what the server then says of its replicas and its disk covers it too: the
-- first time may have been before a change of master, or never acknowledged.
local function touch(partition, recent, confirm)
  if confirm == '1' then redis.call('HSET', partition, 't', recent) end
end

-- KEYS: partition, log, the server's time in office, the shard's ledger, then actors and when they were seen if it is
-- an act, then two for each index. ARGV: token, not_after or '', lease guard in ms, events or '', how many rows it
-- touches, whether it will be confirmed, how many index steps, '' or the act (actor, epoch, id, confirmed), its result,
-- after how many ms an actor is idle, '' or what it has to say to the ledger, then the steps.
local function commit(keys, args)
  local partition, token, not_after, events, entry, first = keys[1], args[1], args[2], args[4], args[11], 12
  local ms = now_ms()
  local now = hex(ms)
  local recent = redis.call('HGET', partition, 't') or ''
  local before = previous_of(recent, token)
  if before then
    touch(partition, recent, args[6])
    return { 'done', before, now }
  end
  local act, memory, actor
  if args[8] ~= '' then
    actor = sub(args[8], 1, 16)
    act = { epoch = sub(args[8], 17, 32), id = sub(args[8], 33, 48), confirmed = sub(args[8], 49, 64) }
    act.result = args[9]
    memory = redis.call('HGET', keys[5], actor)
    local known = judge_act(memory, act)
    if known then
      if known[1] == 'repeated' then touch(partition, recent, args[6]) end
      return known
    end
  end
  if not_after ~= '' and less(not_after, now) then return { 'late', now } end
  local guard = { key = keys[3], ms = ms, guard_ms = args[3] }
  local refusal = judge(partition, args, first, now, guard)
  if refusal then return refusal end
  if full(partition, args, first, tonumber(args[5]), recent) then return { 'full' } end
  local idle, remembers = {}, nil
  if act then
    remembers = remembered(memory, act, token)
    if remembers and not memory then idle = idle_for(keys[5], keys[6], ms, tonumber(args[10])) end
    if not remembers or not idle then return { 'acts' } end
  end
  local steps = tonumber(args[7])
  refusal = steps > 0 and index_full(keys, args, first, steps)
  if refusal then return refusal end
  if entry ~= '' and redis.call('XLEN', keys[4]) >= LEDGER_MAX then return { 'ledger' } end

  write(partition, args, first, ms, token, recent)
  if act then
    if #idle > 0 then
      redis.call('HDEL', keys[5], unpack(idle))
      redis.call('ZREM', keys[6], unpack(idle))
    end
    redis.call('HSET', keys[5], actor, remembers)
    redis.call('ZADD', keys[6], string.format('%.0f', ms), actor)
  end
  if steps > 0 then write_index(keys, args, first) end
  if entry ~= '' then redis.call('XADD', keys[4], '0-*', 'e', token .. now .. entry) end
  local previous = recent ~= '' and sub(recent, 1, 16) or NONE
  if events ~= '' then
    redis.call('RPUSH', keys[2], previous .. token .. events)
    redis.call('LTRIM', keys[2], -LOG_MAX, -1)
  end
  return { 'done', previous, now }
end

-- KEYS: partition, log. ARGV: the token up to which the asker knows it.
local function tail(keys, args)
  local after = args[1]
  local wanted = sub(redis.call('HGET', keys[1], 't') or NONE, 1, 16)
  local chain = { 'events' }
  if wanted == after then return chain end
  local log = redis.call('LRANGE', keys[2], 0, -1)
  local from = #log + 1
  while wanted ~= after do
    local entry = log[from - 1]
    if not entry or sub(entry, 17, 32) ~= wanted then return { 'reload' } end
    from = from - 1
    wanted = sub(entry, 1, 16)
  end
  for at = from, #log do chain[#chain + 1] = log[at] end
  return chain
end

-- KEYS: an index's keys, its values. ARGV: '' or the key after which to go on, how many entries at most.
local function page(keys, args)
  local after = args[1] == '' and '-' or '(' .. args[1]
  local found = redis.call('ZRANGE', keys[1], after, '+', 'BYLEX', 'LIMIT', 0, tonumber(args[2]))
  local entries = {}
  for at = 1, #found do
    entries[2 * at - 1] = found[at]
    entries[2 * at] = redis.call('HGET', keys[2], found[at]) or ''
  end
  return entries
end

-- A whole partition as it is at one moment. KEYS: partition, actors, when they were seen.
local function whole(keys, args)
  local seen = redis.call('ZRANGE', keys[3], 0, -1, 'WITHSCORES')
  return { redis.call('HGETALL', keys[1]), redis.call('HGETALL', keys[2]), seen }
end

-- Calls a command with pairs of arguments, a bounded number of them at once.
local PAIRS_TOGETHER = 1000
local function in_parts(command, key, args, first, pairs)
  for at = first, first + 2 * pairs - 1, 2 * PAIRS_TOGETHER do
    local last = math.min(at + 2 * PAIRS_TOGETHER, first + 2 * pairs) - 1
    redis.call(command, key, unpack(args, at, last))
  end
end

local function fill(keys, args, at)
  local rows, actors, first = tonumber(args[at]), tonumber(args[at + 1]), at + 2
  in_parts('HSET', keys[1], args, first, rows)
  in_parts('HSET', keys[2], args, first + 2 * rows, actors)
  in_parts('ZADD', keys[3], args, first + 2 * rows + 2 * actors, actors)
end

-- Writes a whole partition where none is. KEYS as `whole`. ARGV: how many rows, how many actors, then the rows as name
-- and value, the actors as number and memory, and again as when they were seen and number.
local function restore(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 then return 'present' end
  redis.call('DEL', keys[2], keys[3])
  fill(keys, args, 1)
  return 'done'
end

-- Writes a whole partition over the one that has this newest token; else tells which it has. KEYS as `whole`, then the
-- log. ARGV: that token, the new one, by which it is seen to be done already, then as `restore`.
local function replace(keys, args)
  local newest = sub(redis.call('HGET', keys[1], 't') or NONE, 1, 16)
  if newest == args[2] then return 'done' end
  if newest ~= args[1] then return newest end
  redis.call('UNLINK', keys[1], keys[2], keys[3], keys[4])
  fill(keys, args, 3)
  return 'done'
end

-- Writes something of no meaning, after which replicas and disks can be waited for. KEYS: what to write.
local function mark(keys) return redis.call('SET', keys[1], '') end

redis.register_function('@LIBRARY@_commit', commit)
redis.register_function('@LIBRARY@_restore', restore)
redis.register_function('@LIBRARY@_replace', replace)
-- Also when the memory is full: what is in the ledger must get out of it then more than ever.
redis.register_function { function_name = '@LIBRARY@_mark', callback = mark, flags = { 'allow-oom' } }
redis.register_function { function_name = '@LIBRARY@_whole', callback = whole, flags = { 'no-writes' } }
redis.register_function { function_name = '@LIBRARY@_page', callback = page, flags = { 'no-writes' } }
redis.register_function { function_name = '@LIBRARY@_tail', callback = tail, flags = { 'no-writes' } }
