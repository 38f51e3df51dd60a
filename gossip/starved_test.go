//go:build unix

package gossip

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fainting dials like loopback, but its process is stopped in the middle of the first.
type fainting struct {
	tcpLinks
	dials *atomic.Int32
}

func (f fainting) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if f.dials.Add(1) == 1 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
			return nil, err
		}
	}
	return f.tcpLinks.Dial(ctx, addr)
}

// TestAStarvedNodeAccusesNobody: a process that does not get to run while it
// waits for an answer knows nothing about who did not answer.
func TestAStarvedNodeAccusesNobody(t *testing.T) {
	t.Parallel()
	if addr := os.Getenv("GOSSIP_TEST_STARVED"); addr != "" {
		starve(t, addr)
		return
	}
	port, err := net.Listen("tcp", "127.0.0.1:0") // the kernel answers for it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = port.Close() }()
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^TestAStarvedNodeAccusesNobody$", "-test.v")
	cmd.Env = append(os.Environ(), "GOSSIP_TEST_STARVED="+port.Addr().String())
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != syscall.EINTR {
			break
		}
	}
	if err != nil || !status.Stopped() {
		_ = cmd.Wait()
		t.Fatalf("the process did not stop: %v, %v\n%s", status, err, out.Bytes())
	}
	time.Sleep(10 * redialWithin) // this is for how long it starves
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.Bytes())
	}
}

// starve is the process that is stopped.
func starve(t *testing.T, addr string) {
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int32
	g.links.g.c.Links = fainting{g.links.g.c.Links.(tcpLinks), &dials}
	if found := g.links.investigate(t.Context(), Peer{UUID: "x", Incarnation: 1, RaftAddr: addr}); isCrash(endedByKernel, found) {
		t.Errorf("redial %d, after %d dials, accuses a live process", found, dials.Load())
	}
	fmt.Println("dials", dials.Load())
}
