package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"sync"
	"time"
)

// linesPerSecond bounds what memberlist may say above debugging: it has a line
// for every packet that a stranger sends.
const linesPerSecond = 10

// newLogger lets memberlist, which writes lines like "[WARN] memberlist: text",
// write to a slog.Logger. What it calls information is for debugging here.
func newLogger(l *slog.Logger) *log.Logger {
	return log.New(&lineWriter{l: l.With("component", "memberlist")}, "", 0)
}

type lineWriter struct {
	l *slog.Logger

	mu      sync.Mutex
	since   time.Time // the second that is counted
	lines   int
	dropped int
}

// admit reports whether a line may be logged now, and how many were dropped
// since the last one that was.
func (w *lineWriter) admit(now time.Time) (dropped int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.since) >= time.Second {
		w.since, w.lines = now, 0
	}
	if w.lines++; w.lines > linesPerSecond {
		w.dropped++
		return 0, false
	}
	dropped, w.dropped = w.dropped, 0
	return dropped, true
}

// Write takes one line.
func (w *lineWriter) Write(p []byte) (int, error) {
	level, text := slog.LevelDebug, bytes.TrimSpace(p)
	if rest, ok := bytes.CutPrefix(text, []byte("[")); ok {
		if name, after, ok := bytes.Cut(rest, []byte("]")); ok {
			if string(name) == "ERR" || string(name) == "ERROR" {
				// Mostly connections that others broke; what matters is in the table.
				level = slog.LevelInfo
			}
			text = bytes.TrimSpace(after)
		}
	}
	text = bytes.TrimPrefix(text, []byte("memberlist: "))
	attrs := []any{"text", string(text)}
	if level > slog.LevelDebug {
		dropped, ok := w.admit(time.Now())
		if !ok {
			return len(p), nil
		}
		if dropped > 0 {
			attrs = append(attrs, "lines_dropped_before", dropped)
		}
	}
	w.l.Log(context.Background(), level, "memberlist", attrs...)
	return len(p), nil
}
