package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// assemble makes the smallest program: it imports one function of the given
// type from WASI, and runs the body.
func assemble(t *testing.T, function, signature, body string) *machine {
	t.Helper()
	section := func(id byte, s string) string { return string([]byte{id, byte(len(s))}) + s }
	text := func(s string) string { return string([]byte{byte(len(s))}) + s }
	code := "\x00" + body + "\x0b" // no locals, the body, end
	wasm := "\x00asm\x01\x00\x00\x00" +
		section(1, "\x02"+signature+"\x60\x00\x00") + // types: the import's, and func()
		section(2, "\x01"+text("wasi_snapshot_preview1")+text(function)+"\x00\x00") +
		section(3, "\x01\x01") + // one function, of the second type
		section(5, "\x01\x00\x01") + // one page of memory
		section(7, "\x02"+text("_start")+"\x00\x01"+text("memory")+"\x02\x00") +
		section(10, "\x01"+text(code))
	dir := t.TempDir()
	m, err := newMachine(t.Context(), []byte(wasm), filepath.Join(dir, "compiled"), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.close(context.WithoutCancel(t.Context())) })
	return m
}

const (
	exits      = "\x60\x01\x7f\x00"             // func(i32)
	tellsTime  = "\x60\x03\x7f\x7e\x7f\x01\x7f" // func(i32, i64, i32) i32
	exitWith3  = "\x41\x03\x10\x00"             // i32.const 3, call 0
	trap       = "\x00"                         // unreachable
	watchClock = "\x03\x40" +                   // loop
		"\x41\x01\x42\x00\x41\x00\x10\x00\x1a" + // clock_time_get(monotonic, 0, 0), drop
		"\x0c\x00\x0b" // br 0, end
)

// TestEnds tells a program that ends, with whatever code, from one that breaks.
// Not parallel, as newMachine wants it.
func TestEnds(t *testing.T) {
	code, err := assemble(t, "proc_exit", exits, exitWith3).run(t.Context(), [2]uint64{1, 1}, io.Discard)
	if code != 3 || err != nil {
		t.Errorf("got code %d, error %v, want code 3", code, err)
	}
	code, err = assemble(t, "proc_exit", exits, "").run(t.Context(), [2]uint64{1, 1}, io.Discard)
	if code != 0 || err != nil {
		t.Errorf("got code %d, error %v, want neither", code, err)
	}
	_, err = assemble(t, "proc_exit", exits, trap).run(t.Context(), [2]uint64{1, 1}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("got error %v, want one that says where the program broke", err)
	}
}

// TestInterrupted ends a program that would run for ever, and cleans up.
// Not parallel, as newMachine wants it.
func TestInterrupted(t *testing.T) {
	m := assemble(t, "clock_time_get", tellsTime, watchClock)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.run(ctx, [2]uint64{1, 1}, io.Discard); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got error %v, want the context's", err)
	}
}

func TestFailureNamesItsReplay(t *testing.T) {
	t.Parallel()
	r := result{history: history{7, 3}}
	if got, want := r.String(), "FAILS, see make sim SEED=7 ORDER=3"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
}
