#!lua name=@LIBRARY@
-- What a commit does, on Redis: the same rule as chunk_sync::store::apply, line by line; one suite checks both.
-- It checks everything first and writes afterwards, since Redis undoes nothing. Numbers of 64 bits are 16 hex
-- digits, because a Lua number cannot hold them; documents and events are bytes that it never looks into.
--
-- A partition is a hash: t = its newest tokens, d:NAME = version and document, e:NAME = epoch, l:NAME = holder
-- and end of a lease. Beside it lies a list, the log: previous token, token, packed events.

local NONE = '0000000000000000'
local RESEND_MAX, LOG_MAX, ROWS_MAX = @RESEND_MAX@, @LOG_MAX@, @ROWS_MAX@

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

local function young(guard_ms)
  local served_s = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  return tonumber(served_s) * 1000 < tonumber(guard_ms)
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

local function judge_lease(lease, code, name, holder, now, guard_ms)
  local theirs, ends = lease and sub(lease, 1, 16), lease and sub(lease, 17, 32)
  if code == 'lt' or code == 'lx' then
    if not lease or (code == 'lt' and theirs == holder) then return end
    if not less(now, ends) then return young(guard_ms) and { 'young' } or nil end
    if code == 'lt' then return { 'held', name, theirs, ends } end
    return { 'unexpired', name, ends }
  end
  if theirs ~= holder then return { 'lost', name } end
end

-- Each step is four arguments: code, name, and up to two values.
local function judge(partition, args, first, now, guard_ms)
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
      local refusal = judge_lease(lease, code, name, value, now, guard_ms)
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

-- KEYS: partition, log. ARGV: token, not_after or '', lease guard in ms, events or '', how many things it
-- touches, then the steps.
local function commit(keys, args)
  local partition, token, not_after, guard_ms, events = keys[1], args[1], args[2], args[3], args[4]
  local ms = now_ms()
  local now = hex(ms)
  local recent = redis.call('HGET', partition, 't') or ''
  local before = previous_of(recent, token)
  if before then return { 'done', before, now } end
  if not_after ~= '' and less(not_after, now) then return { 'late', now } end
  local refusal = judge(partition, args, 6, now, guard_ms)
  if refusal then return refusal end
  if full(partition, args, 6, tonumber(args[5]), recent) then return { 'full' } end
  write(partition, args, 6, ms, token, recent)
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

redis.register_function('@LIBRARY@_commit', commit)
redis.register_function { function_name = '@LIBRARY@_tail', callback = tail, flags = { 'no-writes' } }
