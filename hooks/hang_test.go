package hooks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestAHangingDiskHoldsNobody: a write that does not return ends Run with an
// error that names the file, and does not keep Close from returning.
func TestAHangingDiskHoldsNobody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  bool // the node ends while the write hangs
		want time.Duration
	}{
		"while the node runs": {false, hangFatal + gather},
		"when the node ends":  {true, closeWait + gather},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				f, err := OpenFile(t.TempDir(), "u-1")
				if err != nil {
					t.Fatal(err)
				}
				hang := make(chan struct{})
				f.update = func(func(*bbolt.Tx) error) error { <-hang; return nil }
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				start := time.Now()
				ended := make(chan error, 1)
				go func() { ended <- f.Run(ctx) }()
				durable := f.Save(1, topology.Duty{Role: topology.RoleReplica, Session: 1})
				if c.end {
					time.Sleep(gather)
					synctest.Wait()
					cancel()
				}
				err = <-ended
				if !errors.Is(err, errHangs) || !strings.Contains(err.Error(), f.path) {
					t.Errorf("got %v, want one that says that the disk of %s hangs", err, f.path)
				}
				if took := time.Since(start); took != c.want {
					t.Errorf("took %v, want %v", took, c.want)
				}
				select {
				case <-durable:
					t.Error("what was not written is durable")
				default:
				}
				close(hang)
				f.writes.Wait()
				if err := f.db.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
