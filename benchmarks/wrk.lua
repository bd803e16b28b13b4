-- One request after another out of the file named by WRK_REQUESTS: method, path, token, If-None-Match, body,
-- tab by tab. A body holds EVENT in the place of an id that no other request has.
local requests, bodies, next_one, events, thread = {}, {}, 0, 0, 0

function setup(made)
  made:set("thread", thread)
  thread = thread + 1
end

function init(_)
  math.randomseed(thread + 1)
  for line in io.lines(os.getenv("WRK_REQUESTS")) do
    local method, path, token, known, body = line:match("^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$")
    local headers = {}
    if token ~= "" then headers["Authorization"] = "Bearer " .. token end
    if known ~= "" then headers["If-None-Match"] = known end
    if body == "" then
      table.insert(requests, wrk.format(method, path, headers))
      table.insert(bodies, false)
    else
      headers["Content-Type"] = "application/json"
      table.insert(requests, { method, path, headers })
      table.insert(bodies, body)
    end
  end
end

function request()
  next_one = next_one % #requests + 1
  local body = bodies[next_one]
  if not body then return requests[next_one] end
  events = events + 1
  local made = requests[next_one]
  local id = string.format("%s-7000-8000-%012x", os.getenv("WRK_RUN"), thread * 1000000000 + events)
  return wrk.format(made[1], made[2], made[3], (body:gsub("EVENT", id)))
end

function done(summary, latency, _)
  io.write(string.format('\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout))
end
