//go:build !linux

package lease

import "time"

var processStart = time.Now()

func bootTime() time.Duration { return time.Since(processStart) }
