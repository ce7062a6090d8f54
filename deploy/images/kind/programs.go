//go:build programs

// Package programs names what this module builds, so that the module file keeps what they need.
package programs

import (
	_ "sigs.k8s.io/kind"
)
