//go:build programs

// Package programs names what this module builds, so that the module file keeps what they need.
package programs

import (
	_ "k8s.io/ingress-nginx/cmd/dbg"
	_ "k8s.io/ingress-nginx/cmd/nginx"
	_ "k8s.io/ingress-nginx/cmd/waitshutdown"
)
