package clusterkit

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// slow is a handler that takes its time.
type slow struct {
	slog.Handler
	release chan struct{}
}

func (s slow) Handle(ctx context.Context, r slog.Record) error {
	<-s.release
	return s.Handler.Handle(ctx, r)
}

// TestNothingIsLoggedAfterTheEnd: a record that is being written is waited for,
// and none follows, by whichever descendant of the logger.
func TestNothingIsLoggedAfterTheEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		release := make(chan struct{})
		logger, gate := newQuiet(slog.New(slow{slog.NewTextHandler(&said, nil), release}))
		go logger.Info("first")
		synctest.Wait()
		ended := make(chan struct{})
		go func() { defer close(ended); gate.close() }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("closed while a record was written")
		default:
		}
		logger.Info("second")
		close(release)
		<-ended
		logger.Info("third")
		logger.With("a", 1).WithGroup("g").Error("fourth")
		if logger.Enabled(t.Context(), slog.LevelError) {
			t.Error("enabled")
		}
		if got := said.String(); strings.Count(got, "msg=") != 1 || !strings.Contains(got, "msg=first") {
			t.Errorf("said %q", got)
		}
		gate.close()
	})
}

// TestTheLoggerIsTheUsers: what it is told arrives as it was told.
func TestTheLoggerIsTheUsers(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	logger, _ := newQuiet(slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn})))
	logger.Info("less")
	logger.With("a", 1).WithGroup("g").Warn("more", "b", 2)
	if got := said.String(); strings.Contains(got, "less") || !strings.Contains(got, "level=WARN msg=more a=1 g.b=2") {
		t.Errorf("said %q", got)
	}
}
