package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	// fullNode is the node that gets a small file system of its own.
	fullNode = "node-2"
	// syncs are the system calls that write files to disk.
	syncs = "fdatasync,fsync"
)

// Faults of disks. Those of system calls need strace.
var onDisks = []scenario{
	{
		name: "disk-slow", tool: "strace", epochs: noEpochs,
		promise: "every fsync of a node takes 30 ms longer: nothing is failed over", check: "epochs",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			defer t.committing(ctx, t.others(n)...)()
			end, err := t.inject(ctx, n, syncs+":delay_enter=30000")
			if err != nil {
				return err
			}
			defer end()
			if err := t.hold(ctx, 8*time.Second); err != nil {
				return err
			}
			t.figure("slowest write %s", short(t.load.slowest(t.began, time.Now())))
			return nil
		},
	},
	{
		name: "disk-hung-leader", tool: "strace", quick: true, epochs: 2 * partitions,
		promise: "an fsync of the Raft leader's log does not return: another one leads within 5 s, and commits",
		check:   "who leads, asked of the others; an operation",
		run:     hungLeader,
	},
	{
		name: "disk-hung-node", tool: "strace", quick: true, epochs: 3 * partitions,
		promise: "no fsync of a node returns, of its log or of its store: it is replaced within 12 s, and others answer on",
		check:   "the maps of all others; writes through them",
		run:     hungNode,
	},
	{
		name: "disk-eio-leader", tool: "strace", quick: true, epochs: 2 * partitions,
		promise: "an fsync of the Raft leader's log fails: the process says which file and ends without a panic, and is replaced within 5 s",
		check:   "its last words; the maps of all others",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.leader(ctx)
			if err != nil {
				return err
			}
			return t.failing(ctx, n, "fdatasync:error=EIO", []string{dataOf(n, "raft.db")}, "raft.db", "input/output error", "wipe")
		},
	},
	{
		name: "disk-eio-follower", tool: "strace", epochs: 2 * partitions,
		promise: "a write of another node's log fails: the same", check: "the same",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.failing(ctx, n, "pwrite64:error=ENOSPC", []string{dataOf(n, "raft.db")}, "raft.db", "no space left", "wipe")
		},
	},
	{
		name: "disk-eio-store", tool: "strace", quick: true, epochs: 2 * partitions,
		promise: "an fsync of the example's own store fails: the same", check: "the same",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			logs, err := filepath.Glob(dataOf(n, "kv", "*.log"))
			if err != nil {
				return err
			}
			return t.failing(ctx, n, syncs+":error=EIO", logs, "store", "input/output error")
		},
	},
	{
		name: "disk-full", tool: "mkfs.ext4", quick: true, epochs: 2 * partitions,
		prepare: func(n *procs.Node) error {
			if n.ID != fullNode {
				return nil
			}
			return mountSmall(n, 48)
		},
		promise: "a node's file system, a small ext4 of its own, is full: it says so and ends without a panic, is replaced, and comes back when there is room",
		check:   "its last words; the maps of all others",
		run:     fullDisk,
	},
	{
		name: "disk-damage", quick: true, fresh: true, epochs: anyEpochs,
		promise: "a node's files are damaged while it is down: it names the file and the remedy and does not start, or is in its place again; with the remedy it is",
		check:   "its last words; GET /ready",
		run:     damagedFiles,
	},
	{
		name: "disk-wiped", quick: true, epochs: 2 * partitions,
		promise: "a node's DataDir is wiped while it is down: it comes back under its NodeID as a new node",
		check:   "the frame's",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.wiped(ctx, n)
		},
	},
	{
		name: "disk-wiped-founder", quick: true, fresh: true, epochs: 2 * partitions,
		promise: "the same of the node that founded the cluster, and would found again: it hears the others, says so and ends; told to join, it comes back as a new node",
		check:   "its last words; the frame's",
		run:     func(ctx context.Context, t *trial) error { return t.wiped(ctx, t.c.Nodes[0]) },
	},
	{
		name: "disk-exchanged", epochs: 4 * partitions,
		promise: "two nodes get each other's DataDir: both refuse it by name; with their own they are in their places again",
		check:   "their last words",
		run:     exchanged,
	},
	{
		name: "disk-shared", epochs: noEpochs,
		promise: "a second process is started on a node's DataDir: it refuses, and the first one goes on",
		check:   "its last words; epochs",
		run:     sharedDir,
	},
}

// hungLeader has the leader's log hang.
func hungLeader(ctx context.Context, t *trial) error {
	n, err := t.leader(ctx)
	if err != nil {
		return err
	}
	end, err := t.inject(ctx, n, "fdatasync:delay_enter=600000000", dataOf(n, "raft.db"))
	if err != nil {
		return err
	}
	defer end()
	rest := t.others(n)
	// The first one is asked of the leader, so that it has something to write.
	defer t.committing(ctx, append([]*procs.Node{n}, rest...)...)()
	t.began = time.Now()
	for {
		var answer struct {
			ID string `json:"leader_id"`
		}
		asked := rest[0]
		err := fetch(ctx, asked.Client(), asked.URL("/consensus/leader"), &answer)
		if err == nil && answer.ID != "" && answer.ID != n.ID {
			t.figure("%s leads after %s", answer.ID, short(time.Since(t.began)))
			break
		}
		if time.Since(t.began) > failoverWithin {
			return fmt.Errorf("nobody else leads after %v: %s says %q, %v", failoverWithin, asked.ID, answer.ID, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
	within, cancel := context.WithTimeout(ctx, failoverWithin)
	defer cancel()
	if err := t.commit(within, rest[0]); err != nil {
		return fmt.Errorf("the new leader commits nothing: %w", err)
	}
	return t.hold(ctx, 4*time.Second)
}

// hungNode has every fsync of a node hang.
func hungNode(ctx context.Context, t *trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	rest := t.others(n)
	end, err := t.inject(ctx, n, syncs+":delay_enter=600000000")
	if err != nil {
		return err
	}
	defer end()
	defer t.committing(ctx, rest...)()
	t.began = time.Now()
	took, err := t.replaced(ctx, 12*time.Second, rest, n)
	if err != nil {
		return err
	}
	t.figure("replaced in %s", short(took))
	from := time.Now()
	if err := t.hold(ctx, 4*time.Second); err != nil {
		return err
	}
	t.figure("slowest write through others %s", short(t.load.slowest(from.Add(time.Second), time.Now(), ids(rest)...)))
	return nil
}

// failing has system calls of a node fail, and waits for its end.
func (t *trial) failing(ctx context.Context, n *procs.Node, fault string, files []string, words ...string) error {
	rest := t.others(n)
	since := logEnd(n)
	end, err := t.inject(ctx, n, fault, files...)
	if err != nil {
		return err
	}
	defer end()
	defer t.committing(ctx, rest...)()
	t.began = time.Now()
	took, err := t.replaced(ctx, failoverWithin, rest, n)
	if err != nil {
		return err
	}
	t.figure("replaced in %s", short(took))
	if err := t.ends(ctx, n, since, words...); err != nil {
		return err
	}
	t.figure("ended in %s", short(time.Since(t.began)))
	return t.hold(ctx, time.Second)
}

// fullDisk fills a node's file system, and makes room again when it has ended.
func fullDisk(ctx context.Context, t *trial) error {
	n := t.c.Node(fullNode)
	rest := t.others(n)
	since := logEnd(n)
	defer t.committing(ctx, rest...)()
	filler := dataOf(n, "filler")
	t.began = time.Now()
	if err := fill(filler); err != nil {
		return err
	}
	// The files that it has may take a while to be full as well.
	for n.Running() && time.Since(t.began) < 30*time.Second && pause(ctx, 20*time.Millisecond) {
	}
	if err := t.ends(ctx, n, since, "no space left"); err != nil {
		return err
	}
	t.figure("ended after %s", short(time.Since(t.began)))
	t.began = time.Now()
	took, err := t.replaced(ctx, failoverWithin, rest, n)
	if err != nil {
		return err
	}
	t.figure("replaced %s later", short(took))
	return errors.Join(t.hold(ctx, 2*time.Second), os.Remove(filler))
}

// hurt is a damage to the files of a node that is down.
type hurt struct {
	name string
	do   func(t *trial, n *procs.Node) error
	// file must be named by a refusal.
	file string
	// must is false where the damage may be to what is not used.
	must bool
	// cure is the remedy that is followed after a refusal.
	cure func(n *procs.Node) error
}

func wipe(n *procs.Node) error { return os.RemoveAll(dataOf(n)) }

var hurts = []hurt{
	{"the log cut short", func(_ *trial, n *procs.Node) error { return os.Truncate(dataOf(n, "raft.db"), 8192) }, "raft.db", true, wipe},
	{"every page of the log", func(t *trial, n *procs.Node) error { return t.flip(dataOf(n, "raft.db"), 4096) }, "raft.db", true, wipe},
	{"a byte of the log", func(t *trial, n *procs.Node) error { return t.flip(dataOf(n, "raft.db"), 1) }, "raft.db", false, wipe},
	{"the log emptied", func(_ *trial, n *procs.Node) error { return os.Truncate(dataOf(n, "raft.db"), 0) }, "raft.db", true, wipe},
	{"the log removed", func(_ *trial, n *procs.Node) error { return os.Remove(dataOf(n, "raft.db")) }, "raft.db", true, wipe},
	{"a byte of the identity", func(t *trial, n *procs.Node) error { return t.flip(dataOf(n, "identity.json"), 1) }, "identity.json", false, wipe},
	{"the identity removed", func(_ *trial, n *procs.Node) error { return os.Remove(dataOf(n, "identity.json")) }, "identity.json", true, wipe},
	{"the hooks' cursor", func(t *trial, n *procs.Node) error { return t.flip(dataOf(n, "hooks.db"), 4096) }, "hooks.db", true,
		func(n *procs.Node) error { return os.Remove(dataOf(n, "hooks.db")) }},
	{"the store's manifest", func(t *trial, n *procs.Node) error { return hurtStore(t, n, "MANIFEST-*") }, "kv", false, wipe},
	{"the store's log", func(t *trial, n *procs.Node) error { return hurtStore(t, n, "*.log") }, "kv", false, wipe},
}

func hurtStore(t *trial, n *procs.Node, pattern string) error {
	path, err := largest(dataOf(n, "kv", pattern))
	if err != nil {
		return err
	}
	return t.flip(path, 64)
}

// damagedFiles damages the files of one node after the other.
func damagedFiles(ctx context.Context, t *trial) error {
	refused := 0
	for i, h := range hurts {
		n := t.c.Nodes[1+i%(len(t.c.Nodes)-1)]
		was, err := t.damaged(ctx, n, h)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", h.name, n.ID, err)
		}
		if was {
			refused++
		}
		// The next one may be wiped as well: all replicas must be there again.
		if err := t.agree(ctx, 2*agreeWithin); err != nil {
			return fmt.Errorf("after %s of %s: %w", h.name, n.ID, err)
		}
	}
	t.figure("%d damages: %d refused by name, %d without consequence", len(hurts), refused, len(hurts)-refused)
	return nil
}

// damaged reports whether the node refused its files.
func (t *trial) damaged(ctx context.Context, n *procs.Node, h hurt) (refused bool, err error) {
	if err := n.Kill(); err != nil {
		return false, err
	}
	since := logEnd(n)
	if err := errors.Join(h.do(t, n), n.Start()); err != nil {
		return false, err
	}
	within, cancel := context.WithTimeout(ctx, 2*agreeWithin)
	defer cancel()
	ready := make(chan error, 1)
	waiting, stop := context.WithCancel(within)
	defer stop()
	go func() { ready <- t.c.AwaitReady(waiting, n) }()
	for n.Running() {
		select {
		case err := <-ready:
			if err == nil && h.must {
				err = errors.New("it runs as if nothing had happened")
			}
			return false, err
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	<-ready
	if err := spoke(n, said(n, since), h.file); err != nil {
		return true, err
	}
	_ = n.Kill() // it has ended by itself
	if err := errors.Join(h.cure(n), n.Start()); err != nil {
		return true, err
	}
	return true, t.c.AwaitReady(within, n)
}

// exchanged gives two nodes each other's DataDir, and their own again.
func exchanged(ctx context.Context, t *trial) error {
	a, err := t.follower(ctx)
	if err != nil {
		return err
	}
	rest := t.others(a)
	b := rest[t.rng.IntN(len(rest))]
	if err := errors.Join(a.Kill(), b.Kill(), exchange(a, b)); err != nil {
		return err
	}
	for _, n := range []*procs.Node{a, b} {
		since := logEnd(n)
		if err := n.Start(); err != nil {
			return err
		}
		if err := t.ends(ctx, n, since, "belongs to node", "own DataDir"); err != nil {
			return err
		}
		_ = n.Kill() // it has ended by itself
	}
	if err := exchange(a, b); err != nil {
		return err
	}
	return t.hold(ctx, time.Second)
}

func exchange(a, b *procs.Node) error {
	aside := dataOf(a) + ".aside"
	return errors.Join(os.Rename(dataOf(a), aside), os.Rename(dataOf(b), dataOf(a)), os.Rename(aside, dataOf(b)))
}

// wiped kills a node and starts it with an empty disk. The founder must be told to
// join then: it refuses to found a second cluster beside this one.
func (t *trial) wiped(ctx context.Context, n *procs.Node) error {
	if err := errors.Join(n.Kill(), os.RemoveAll(dataOf(n))); err != nil {
		return err
	}
	if n == t.c.Nodes[0] {
		since := logEnd(n)
		n.Setenv("BOOTSTRAP", "true")
		n.Setenv("JOIN_ADDR", "")
		if err := n.Start(); err != nil {
			return err
		}
		if err := t.ends(ctx, n, since, "is empty", "JoinAddr"); err != nil {
			return err
		}
		_ = n.Kill() // it has ended by itself
		n.Setenv("BOOTSTRAP", "")
		n.Setenv("JOIN_ADDR", t.c.Nodes[1].HTTP)
	}
	if err := n.Start(); err != nil {
		return err
	}
	return t.hold(ctx, 3*time.Second)
}

// sharedDir starts another process on a node's DataDir.
func sharedDir(ctx context.Context, t *trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	cmd := exec.CommandContext(within, t.c.Binary) //#nosec G204 -- the harness runs programs of its own
	cmd.Env = append(os.Environ(), "NODE_ID="+n.ID, "DATA_DIR="+dataOf(n), "HTTP_ADDR=127.0.0.1:8080", "RAFT_ADDR=127.0.0.1:9001",
		"GOSSIP_ADDR=127.0.0.1:10001", "KV_ADDR=127.0.0.1:8180", "JOIN_ADDR="+t.c.Nodes[0].HTTP)
	out, err := cmd.CombinedOutput()
	if err == nil || within.Err() != nil {
		return fmt.Errorf("the second process did not refuse: %v: %s", err, lastLines(string(out)))
	}
	if err := spoke(n, string(out), "another process", dataOf(n)); err != nil {
		return err
	}
	return t.hold(ctx, 2*time.Second)
}
