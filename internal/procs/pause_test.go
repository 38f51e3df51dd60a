package procs

import (
	"os"
	"os/exec"
	"testing"
)

// TestPauseReturnsWhenTheProcessHangs: what is asked of it from then on waits.
func TestPauseReturnsWhenTheProcessHangs(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("this system does not say what threads do")
	}
	n := &Node{ID: "sleeper", Dir: t.TempDir(), binary: "sleep", wrapper: []string{"sh", "-c", "while :; do :; done"}, start: (*exec.Cmd).Start}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Kill() }()
	if err := n.Pause(); err != nil {
		t.Fatal(err)
	}
	if !stopped(n.PID()) {
		t.Error("it runs")
	}
	if err := n.Resume(); err != nil {
		t.Fatal(err)
	}
}
