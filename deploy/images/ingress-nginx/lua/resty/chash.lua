-- Consistent hashing over a table id -> weight, with the interface that Ingress-NGINX calls.
local _M = {}
local mt = { __index = _M }
local POINTS = 160

local function load(self, nodes)
  self.nodes, self.ring = nodes, {}
  for id, weight in pairs(nodes) do
    for i = 1, weight * POINTS do
      self.ring[#self.ring + 1] = { ngx.crc32_long(id .. "-" .. i), id }
    end
  end
  table.sort(self.ring, function(a, b) return a[1] < b[1] end)
end

function _M.new(_, nodes)
  local self = setmetatable({}, mt)
  load(self, nodes)
  return self
end

function _M.reinit(self, nodes) load(self, nodes) end

function _M.find(self, key)
  if #self.ring == 0 then return nil end
  local hash, low, high = ngx.crc32_long(key), 1, #self.ring
  while low < high do
    local middle = math.floor((low + high) / 2)
    if self.ring[middle][1] < hash then low = middle + 1 else high = middle end
  end
  if self.ring[low][1] < hash then low = 1 end
  return self.ring[low][2], low
end

function _M.next(self, index)
  local at = index % #self.ring + 1
  return self.ring[at][2], at
end

return _M
