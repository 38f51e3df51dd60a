package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
)

// logged is a database whose write-ahead log may fail. Once it has, what was
// written since is in memory and on no disk, and no later write can be either:
// the process says so and ends. Pebble itself does so for the write that is told
// of the failure; it returns the error to who waits for an fsync later on, and
// panics when a write finds the log failed that did not ask for the disk.
type logged struct {
	*pebble.DB
	quiet quiet
}

// end is deferred by every write.
func (l logged) end() {
	switch failure := recover().(type) {
	case nil:
	case runtime.Error:
		panic(failure)
	case error:
		if errors.Is(failure, pebble.ErrClosed) {
			panic(failure) // a use after Close is the caller's mistake
		}
		l.quiet.Fatalf("%v", failure)
	default:
		panic(failure)
	}
}

// wait returns when a batch given to ApplyNoSyncWait is on disk, and closes it.
func (l logged) wait(b *pebble.Batch) error {
	if err := b.SyncWait(); err != nil {
		l.quiet.Fatalf("%v", err)
	}
	return b.Close()
}

func (l logged) Apply(b *pebble.Batch, o *pebble.WriteOptions) error {
	defer l.end()
	return l.DB.Apply(b, o)
}

func (l logged) ApplyNoSyncWait(b *pebble.Batch, o *pebble.WriteOptions) error {
	defer l.end()
	return l.DB.ApplyNoSyncWait(b, o)
}

func (l logged) Set(key, value []byte, o *pebble.WriteOptions) error {
	defer l.end()
	return l.DB.Set(key, value, o)
}

func (l logged) DeleteRange(from, to []byte, o *pebble.WriteOptions) error {
	defer l.end()
	return l.DB.DeleteRange(from, to, o)
}

func (l logged) LogData(data []byte, o *pebble.WriteOptions) error {
	defer l.end()
	return l.DB.LogData(data, o)
}

func (l logged) Flush() error {
	defer l.end()
	return l.DB.Flush()
}

// quiet passes only pebble's errors on.
type quiet struct{ logger *slog.Logger }

func (q quiet) Infof(string, ...any) {}

func (q quiet) Errorf(format string, args ...any) {
	q.logger.Error("pebble", "error", fmt.Sprintf(format, args...))
}

// Fatalf must not return: pebble calls it when it cannot go on without breaking
// its promise. A stack would tell an operator nothing.
func (q quiet) Fatalf(format string, args ...any) {
	q.logger.Error("store: the disk failed, this process ends: check the disk, then start it again", "error", fmt.Sprintf(format, args...))
	os.Exit(1)
}
