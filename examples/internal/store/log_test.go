package store_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// lostDisk names the way in which a process of its own finds the disk lost.
const lostDisk = "STORE_TEST_LOST_DISK"

// lostDisks write, once nothing can be written to the log any more, until the
// process ends or it is sure that it never will.
var lostDisks = map[string]func(s *store.Store) error{
	"waiting for a write": func(s *store.Store) error {
		c, err := s.Apply(store.Record{Version: store.Version{Epoch: 1, Sequence: 1}, Key: "k"})
		if err != nil {
			return err
		}
		return c.Wait()
	},
	"waiting for all of them": func(s *store.Store) error { return s.Sync() },
	"changing to a new log":   func(s *store.Store) error { return s.Flush() },
	"waiting for nothing": func(s *store.Store) error {
		// Blocks of the log, of 32 KiB each, are handed to a writer, and the
		// second one after it has failed is refused.
		value := make([]byte, 1<<10)
		last := ""
		for i := range uint64(10_000) {
			r := store.Record{Version: store.Version{Epoch: 1, Sequence: i}, Key: fmt.Sprintf("%05d", i), Value: value}
			if err := s.Install(store.Range{After: last, To: r.Key}, []store.Record{r}, r.Version); err != nil {
				return err
			}
			last = r.Key
		}
		return nil
	},
}

func TestALostDiskEndsTheProcess(t *testing.T) {
	if way := os.Getenv(lostDisk); way != "" {
		loseDisk(lostDisks[way])
		return
	}
	t.Parallel()
	for way := range lostDisks {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestALostDiskEndsTheProcess$")
			cmd.Env = append(os.Environ(), lostDisk+"="+way)
			var told bytes.Buffer
			cmd.Stdout, cmd.Stderr = &told, &told
			err := cmd.Run()
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(told.String(), "the disk failed, this process ends") || strings.Contains(told.String(), "goroutine") {
				t.Errorf("it ended by %v and told:\n%s", err, told.String())
			}
		})
	}
}

func loseDisk(write func(*store.Store) error) {
	var lost atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if lost.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
			return errorfs.ErrInjected
		}
		return nil
	}))
	s, err := store.Open("data", slog.New(slog.NewTextHandler(os.Stderr, nil)), store.On(fs))
	if err != nil {
		panic(err)
	}
	lost.Store(true)
	fmt.Println("the store goes on, with the error", write(s))
	os.Exit(0)
}
