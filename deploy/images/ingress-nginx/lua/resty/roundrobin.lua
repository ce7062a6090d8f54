-- Smooth weighted round robin over a table id -> weight, with the interface that Ingress-NGINX calls.
local _M = {}
local mt = { __index = _M }

local function load(self, nodes)
  self.nodes, self.current, self.total = {}, {}, 0
  for id, weight in pairs(nodes) do
    self.nodes[id], self.current[id], self.total = weight, 0, self.total + weight
  end
end

function _M.new(_, nodes)
  local self = setmetatable({}, mt)
  load(self, nodes)
  -- Workers must not all start with the same node.
  for _ = 1, math.random(0, 7) do self:find() end
  return self
end

function _M.reinit(self, nodes) load(self, nodes) end

function _M.find(self)
  local best, score
  for id, weight in pairs(self.nodes) do
    self.current[id] = self.current[id] + weight
    if not score or self.current[id] > score then best, score = id, self.current[id] end
  end
  if best then self.current[best] = self.current[best] - self.total end
  return best
end
_M.next = _M.find

function _M.set(self, id, weight)
  local nodes = self.nodes
  nodes[id] = weight > 0 and weight or nil
  load(self, nodes)
end
function _M.delete(self, id) self:set(id, 0) end
function _M.incr(self, id, by) self:set(id, (self.nodes[id] or 0) + (by or 1)) end
function _M.decr(self, id, by) self:set(id, (self.nodes[id] or 0) - (by or 1)) end

return _M
