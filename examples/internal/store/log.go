package store

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logs is a file system for a database, whose write-ahead log may fail. Once it
// has, what was written since is in memory and on no disk, and no later write can
// be either: the process says so and ends, before the database hears of it. Pebble
// itself would end it for the write that is told of the failure, return the error
// to who waits for an fsync, with the write visible, and panic where it finds out
// by itself, some of its locks in a state that no recover can mend.
type logs struct {
	vfs.FS
	quiet  quiet
	opened atomic.Bool // before, the caller of Open is told
}

// failed ends the process when there is an error, which it returns otherwise.
func (l *logs) failed(err error) error {
	if err != nil && l.opened.Load() {
		l.quiet.Fatalf("%v", err)
	}
	return err
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

func (l *logs) Unwrap() vfs.FS { return l.FS }

func (l *logs) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, category)
	return l.file(name, f, err)
}

func (l *logs) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(from, to, category)
	return l.file(to, f, err)
}

func (l *logs) file(name string, f vfs.File, err error) (vfs.File, error) {
	if !isLog(name) {
		return f, err
	}
	if l.failed(err) != nil {
		return nil, err
	}
	return logFile{f, l}, nil
}

// OpenDir opens a directory, in which new logs are made.
func (l *logs) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return logDir{f, l}, nil
}

type logFile struct {
	vfs.File
	of *logs
}

func (f logFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.of.failed(err)
}

// SyncData is what pebble calls for every group of writes.
func (f logFile) SyncData() error { return f.of.failed(f.File.SyncData()) }

func (f logFile) Sync() error  { return f.of.failed(f.File.Sync()) }
func (f logFile) Close() error { return f.of.failed(f.File.Close()) }

type logDir struct {
	vfs.File
	of *logs
}

func (d logDir) Sync() error { return d.of.failed(d.File.Sync()) }

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
