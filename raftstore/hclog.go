package raftstore

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// levelTrace is for what raft logs in normal operation at its debug level.
const levelTrace = slog.LevelDebug - 4

// quiet is how long a repeated warning of raft stays at debug level: raft
// reports a dead peer twice a second for as long as it is dead.
const quiet = 10 * time.Second

// raftLog lets raft, which wants an hclog.Logger, write to a *slog.Logger.
// What raft calls an error is a peer that does not answer: a warning here.
// This package reports by itself what stops a node.
type raftLog struct {
	l     *slog.Logger
	name  string
	args  []any
	limit *logLimit
}

var _ hclog.Logger = (*raftLog)(nil)

// logLimit remembers when a message was last let through. It is bounded by
// the number of distinct messages in raft's source.
type logLimit struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newRaftLog(l *slog.Logger) *raftLog {
	return &raftLog{l: l, limit: &logLimit{last: make(map[string]time.Time)}}
}

func (r *logLimit) allow(msg string) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[msg]; ok && now.Sub(last) < quiet {
		return false
	}
	r.last[msg] = now
	return true
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error, hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		return slog.LevelDebug
	}
	return levelTrace
}

// Log implements hclog.Logger.
func (r *raftLog) Log(level hclog.Level, msg string, args ...any) {
	to := slogLevel(level)
	if !r.l.Enabled(context.Background(), to) {
		return
	}
	if to >= slog.LevelWarn && !r.limit.allow(msg) {
		to = slog.LevelDebug
	}
	r.l.Log(context.Background(), to, msg, formatted(args)...)
}

// formatted resolves the lazy values of hclog, which slog would print as they are.
func formatted(args []any) []any {
	out := args
	for i, v := range args {
		f, ok := v.(hclog.Format)
		if !ok || len(f) == 0 {
			continue
		}
		if &out[0] == &args[0] {
			out = append([]any(nil), args...)
		}
		out[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
	}
	return out
}

// Trace implements hclog.Logger.
func (r *raftLog) Trace(msg string, args ...any) { r.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (r *raftLog) Debug(msg string, args ...any) { r.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (r *raftLog) Info(msg string, args ...any) { r.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (r *raftLog) Warn(msg string, args ...any) { r.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (r *raftLog) Error(msg string, args ...any) { r.Log(hclog.Error, msg, args...) }

func (r *raftLog) enabled(level hclog.Level) bool {
	return r.l.Enabled(context.Background(), slogLevel(level))
}

// IsTrace implements hclog.Logger.
func (r *raftLog) IsTrace() bool { return r.enabled(hclog.Trace) }

// IsDebug implements hclog.Logger.
func (r *raftLog) IsDebug() bool { return r.enabled(hclog.Debug) }

// IsInfo implements hclog.Logger.
func (r *raftLog) IsInfo() bool { return r.enabled(hclog.Info) }

// IsWarn implements hclog.Logger.
func (r *raftLog) IsWarn() bool { return r.enabled(hclog.Warn) }

// IsError implements hclog.Logger.
func (r *raftLog) IsError() bool { return r.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (r *raftLog) ImpliedArgs() []any { return r.args }

// With implements hclog.Logger.
func (r *raftLog) With(args ...any) hclog.Logger {
	args = formatted(args)
	return &raftLog{l: r.l.With(args...), name: r.name, args: append(append([]any(nil), r.args...), args...), limit: r.limit}
}

// Name implements hclog.Logger.
func (r *raftLog) Name() string { return r.name }

// Named implements hclog.Logger.
func (r *raftLog) Named(name string) hclog.Logger {
	if r.name != "" {
		name = r.name + "." + name
	}
	return r.ResetNamed(name)
}

// ResetNamed implements hclog.Logger.
func (r *raftLog) ResetNamed(name string) hclog.Logger {
	return &raftLog{l: r.l, name: name, args: r.args, limit: r.limit}
}

// SetLevel implements hclog.Logger; the slog handler decides.
func (r *raftLog) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (r *raftLog) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Info, hclog.Warn} {
		if r.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger implements hclog.Logger.
func (r *raftLog) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(r.StandardWriter(o), "", 0)
}

// StandardWriter implements hclog.Logger.
func (r *raftLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(r.l.Handler(), slog.LevelDebug).Writer()
}
