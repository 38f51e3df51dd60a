package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSlackIsInherited: a process started with the slack has it, the next one
// does not.
func TestSlackIsInherited(t *testing.T) {
	t.Parallel()
	const self = "/proc/self/timerslack_ns"
	if _, err := os.Stat(self); err != nil {
		t.Skip("this kernel does not tell the slack")
	}
	read := func() (d time.Duration) {
		out, err := exec.Command("cat", self).Output()
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n)
	}
	if err := withSlack(func() error {
		if got := read(); got != slack {
			t.Errorf("got %v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := read(); got == slack {
		t.Errorf("it stayed at %v", got)
	}
}
