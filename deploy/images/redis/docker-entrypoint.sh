#!/bin/sh
# As upstream's image: options alone mean redis-server with them.
case "${1:-}" in -*|*.conf) set -- redis-server "$@" ;; esac
# Outside a container's own network Redis refuses by default; pods are reached through NetworkPolicies instead.
[ "${1:-}" = redis-server ] && [ $# -eq 1 ] && set -- redis-server --protected-mode no --bind 0.0.0.0
exec "$@"
