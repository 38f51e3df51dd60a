package sim

import (
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// note writes one line of the trace: when it was, in virtual time, and what.
// Lines of concurrent callers do not mix.
func (w *World) note(format string, args ...any) {
	if w.trace == nil {
		return
	}
	line := fmt.Sprintf("%11.6f ", time.Since(w.start).Seconds()) + fmt.Sprintf(format, args...) + "\n"
	_, _ = w.trace.Write([]byte(line)) // whoever reads the trace sees that it ends
}

// noteVersion notes that a node has applied a version, with a checksum of all
// it says; the first node to do so also tells what has changed.
func (w *World) noteVersion(node string, before, now *topology.Topology) {
	if w.trace == nil {
		return
	}
	b, err := topology.EncodeSnapshot(now)
	if err != nil {
		w.fault(err)
		return
	}
	w.mu.Lock()
	first := now.Version > w.newest
	w.newest = max(w.newest, now.Version)
	w.mu.Unlock()
	what := ""
	if first {
		what = difference(before, now)
	}
	w.note("%s applied version %d, sum %08x%s", node, now.Version, crc32.ChecksumIEEE(b), what)
}

// difference draws the nodes and partitions that have changed.
func difference(before, now *topology.Topology) string {
	var b strings.Builder
	for _, n := range now.Nodes {
		if was := before.Node(n.ID); was == nil || was.State != n.State || was.Incarnation != n.Incarnation {
			fmt.Fprintf(&b, "; %s.%d is %s", n.ID, n.Incarnation, n.State)
		}
	}
	for _, c := range topology.Diff(before, now) {
		p := c.After
		fmt.Fprintf(&b, "; %s has epoch %d, primary %q, replicas", p.ID, p.Epoch, p.Primary)
		for _, r := range p.Replicas {
			fmt.Fprintf(&b, " %s:%s", r.Node, r.State)
		}
		if p.Move != nil {
			fmt.Fprintf(&b, ", move %d at %s", p.Move.Session, p.Move.Stage)
		}
	}
	return b.String()
}
