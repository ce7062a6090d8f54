//go:build programs

// Package programs names what this module builds, so that the module file keeps what they need.
package programs

import (
	_ "github.com/grafana/loki/v3/cmd/loki"
	_ "github.com/grafana/loki/v3/clients/cmd/promtail"
)
