-- A lock on a shared dictionary, with the interface that Ingress-NGINX calls.
local _M = {}
local mt = { __index = _M }

function _M.new(_, dict, opts)
  local shared = ngx.shared[dict]
  if not shared then return nil, "dictionary not found" end
  opts = opts or {}
  return setmetatable({ dict = shared, exptime = opts.exptime or 30, timeout = opts.timeout or 5 }, mt)
end

function _M.lock(self, key)
  local waited = 0
  while true do
    local ok, err = self.dict:add("lock:" .. key, true, self.exptime)
    if ok then self.key = key return waited end
    if err ~= "exists" then return nil, err end
    if waited >= self.timeout then return nil, "timeout" end
    ngx.sleep(0.01)
    waited = waited + 0.01
  end
end

function _M.unlock(self)
  if not self.key then return nil, "unlocked" end
  self.dict:delete("lock:" .. self.key)
  self.key = nil
  return 1
end

return _M
