package wire_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// TestGivesUpUnacknowledged: the kernel is told to give a connection up whose
// other end does not acknowledge anything, and not to wait a quarter of an hour.
// What that is good for is seen by examples/faults, with links that are cut.
func TestGivesUpUnacknowledged(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := wire.Upgrade(w, r, "me")
		if err == nil {
			_ = conn.Close()
		}
	}))
	defer server.Close()
	conn, _, err := wire.Dialer(strings.TrimPrefix(server.URL, "http://"), "/", "me")(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	var opt error
	if err := raw.Control(func(fd uintptr) { ms, opt = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil || opt != nil {
		t.Fatal(err, opt)
	}
	if d := time.Duration(ms) * time.Millisecond; d < time.Second || d > 5*time.Second {
		t.Errorf("the kernel gives up after %v", d)
	}
}
