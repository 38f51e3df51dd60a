package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	// endsWithin is when a node whose disk failed must have ended, and
	// endsLast what its end may take that is not the library's: the example lets
	// requests under way end.
	endsWithin = 10 * time.Second
	// attachWithin bounds what strace takes to hold every thread of a node.
	attachWithin = 5 * time.Second
	// commitEvery is the pace at which commits are asked for, so that there is
	// something to write.
	commitEvery = 200 * time.Millisecond
)

// errNoStrace is said where system calls cannot be tampered with.
var errNoStrace = errors.New("strace is not installed, or may not attach here")

// dataOf returns a path in the node's DataDir.
func dataOf(n *procs.Node, parts ...string) string {
	return filepath.Join(append([]string{n.Dir, "data"}, parts...)...)
}

// inject has the kernel's answers to a node's system calls tampered with until
// end is called: fault is strace's ("fdatasync:error=EIO"). With files, only
// calls on those count.
func (t *trial) inject(ctx context.Context, n *procs.Node, fault string, files ...string) (end func(), err error) {
	calls, _, _ := strings.Cut(fault, ":")
	args := []string{"-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(n.PID()), "-e", "trace=" + calls, "-e", "inject=" + fault}
	for _, f := range files {
		args = append(args, "-P", f)
	}
	var said bytes.Buffer
	cmd := exec.Command("strace", args...) //#nosec G204 -- the harness runs programs of its own
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(errNoStrace, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it ends by a signal
		close(ended)
	}()
	end = func() {
		// On SIGINT it lets go of the threads.
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(attachWithin):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	for began := time.Now(); time.Since(began) < attachWithin; pause(ctx, 5*time.Millisecond) {
		select {
		case <-ended:
			for began := time.Now(); time.Since(began) < time.Second; pause(ctx, 5*time.Millisecond) {
				if !n.Running() {
					return end, nil // the node ended of it before all threads were held
				}
			}
			return nil, fmt.Errorf("%w: %s", errNoStrace, said.String())
		default:
		}
		if traced(n.PID()) {
			return end, nil
		}
	}
	end()
	return nil, fmt.Errorf("strace did not hold all threads of %s in %v: %s", n.ID, attachWithin, said.String())
}

// traced reports whether every thread of a process is held by a tracer.
func traced(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		b, readErr := os.ReadFile(path) //#nosec G304 -- the harness reads and writes below directories that its caller names
		if readErr == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// committing asks nodes for commits all the time, until end is called: every
// node has something to write.
func (t *trial) committing(ctx context.Context, through ...*procs.Node) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; pause(ctx, commitEvery); i++ {
			within, stop := context.WithTimeout(ctx, 2*time.Second)
			_ = t.commit(within, through[i%len(through)]) // what it becomes does not matter
			stop()
		}
	}()
	return func() { cancel(); <-done }
}

// commit has a node commit something.
func (t *trial) commit(ctx context.Context, n *procs.Node) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL("/data?key=disks"), strings.NewReader(rand.Text()))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+authToken)
	resp, err := n.Client().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: POST /data: %s: %.200s: %w", n.ID, resp.Status, b, err)
	}
	return nil
}

// said returns what a node has written to its log since a moment of it.
func said(n *procs.Node, since int64) string {
	b, err := os.ReadFile(filepath.Join(n.Dir, "node.log"))
	if err != nil || int64(len(b)) < since {
		return ""
	}
	return string(b[since:])
}

// logEnd is now, in a node's log.
func logEnd(n *procs.Node) int64 {
	st, err := os.Stat(filepath.Join(n.Dir, "node.log"))
	if err != nil {
		return 0
	}
	return st.Size()
}

// ends waits until a node has ended by itself, with a last line that has all of
// the words, and without a panic.
func (t *trial) ends(ctx context.Context, n *procs.Node, since int64, words ...string) error {
	began := time.Now()
	for n.Running() {
		if time.Since(began) > endsWithin || !pause(ctx, 10*time.Millisecond) {
			return fmt.Errorf("%s still runs %v after its disk failed; it said: %s", n.ID, endsWithin, lastLines(said(n, since)))
		}
	}
	return spoke(n, said(n, since), words...)
}

// spoke verifies the last words of a node.
func spoke(n *procs.Node, text string, words ...string) error {
	for _, panicked := range []string{"panic:", "fatal error:", "goroutine 1 ["} {
		if strings.Contains(text, panicked) {
			return fmt.Errorf("%s ended with a panic: %s", n.ID, lastLines(text))
		}
	}
	last := lastLines(text)
	for _, w := range words {
		if !strings.Contains(last, w) {
			return fmt.Errorf("%s does not say %q at its end: %s", n.ID, w, last)
		}
	}
	return nil
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], " / ")
}

// mountSmall gives a node a file system of its own for its DataDir.
func mountSmall(n *procs.Node, megabytes int64) error {
	image := n.Dir + ".img"
	f, err := os.Create(image) //#nosec G304 -- the harness reads and writes below directories that its caller names
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close(), os.MkdirAll(dataOf(n), 0o700)); err != nil {
		return err
	}
	for _, cmd := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dataOf(n)}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil { //#nosec G204 -- the harness runs programs of its own
			return fmt.Errorf("%s: %w: %s", strings.Join(cmd, " "), err, out)
		}
	}
	return os.RemoveAll(dataOf(n, "lost+found"))
}

// unmountAll undoes mountSmall below a directory.
func unmountAll(dir string) error {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			err = errors.Join(err, unix.Unmount(f[1], unix.MNT_DETACH))
		}
	}
	return err
}

// fill takes all room of the file system that a path is on.
func fill(path string) error {
	f, err := os.Create(path) //#nosec G304 -- the harness reads and writes below directories that its caller names
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // what did not fit does not matter
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}

// flip changes n bytes of a file, at places that the generator chooses.
func (t *trial) flip(path string, n int) error {
	b, err := os.ReadFile(path) //#nosec G304 -- the harness reads and writes below directories that its caller names
	if err != nil || len(b) == 0 {
		return errors.Join(err, fmt.Errorf("%s has %d bytes", path, len(b)))
	}
	for range n {
		b[t.rng.IntN(len(b))] ^= 1 << t.rng.IntN(8)
	}
	return os.WriteFile(path, b, 0o600) //#nosec G703 -- the harness reads and writes below directories that its caller names
}

// largest returns the largest of the files that match.
func largest(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err == nil && len(files) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return "", fmt.Errorf("files %s: %w", pattern, err)
	}
	size := func(path string) int64 {
		st, err := os.Stat(path)
		if err != nil {
			return -1
		}
		return st.Size()
	}
	return slices.MaxFunc(files, func(a, b string) int { return int(size(a) - size(b)) }), nil
}
