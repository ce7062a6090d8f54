-- Not built in: Debian has no such package, and what needs it (sticky sessions by cookie, global rate limits, OCSP,
-- ExternalName services) says so when it is used.
local _M = {}
function _M.new() return nil, "not built in" end
return _M
