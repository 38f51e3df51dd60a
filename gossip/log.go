package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// newLogger lets memberlist, which writes lines like "[WARN] memberlist: text",
// write to a slog.Logger. What it calls information is for debugging here.
func newLogger(l *slog.Logger) *log.Logger {
	return log.New(lineWriter{l.With("component", "memberlist")}, "", 0)
}

type lineWriter struct{ l *slog.Logger }

func (w lineWriter) Write(p []byte) (int, error) {
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
	w.l.Log(context.Background(), level, "memberlist", "text", string(text))
	return len(p), nil
}
