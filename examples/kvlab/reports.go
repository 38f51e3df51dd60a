package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// reports are what nodes of async have said of their failovers, in their logs:
// a node that is killed takes what GET /kv/events would answer with it.
type reports struct {
	failovers int
	bound     map[string]uint64 // by partition: how many writes they may have cost
	lost      map[string]uint64 // what replaced primaries found to be theirs alone
}

// readReports reads the logs of all nodes.
func readReports(nodes []*procs.Node) (*reports, error) {
	r := &reports{bound: make(map[string]uint64), lost: make(map[string]uint64)}
	for _, n := range nodes {
		f, err := os.Open(filepath.Join(n.Dir, "node.log"))
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if err == nil {
				err = r.take(lines.Text())
			}
		}
		if err == nil {
			err = lines.Err()
		}
		_ = f.Close() // it was read only
		if err != nil {
			return nil, fmt.Errorf("the log of %s: %w", n.ID, err)
		}
	}
	return r, nil
}

// take takes note of one line.
func (r *reports) take(line string) error {
	if !strings.Contains(line, `msg="writes may be lost"`) {
		return nil
	}
	fields := make(map[string]string)
	for _, f := range strings.Fields(line) {
		if name, value, ok := strings.Cut(f, "="); ok {
			fields[name] = value
		}
	}
	bound, err := strconv.ParseUint(fields["bound"], 10, 64)
	writes, err2 := strconv.ParseUint(fields["writes"], 10, 64)
	if err != nil || err2 != nil {
		return fmt.Errorf("an event without numbers: %s", line)
	}
	switch fields["event"] {
	case "failover":
		r.failovers++
		r.bound[fields["partition"]] += bound
	case "lost":
		r.lost[fields["partition"]] += writes
	}
	return nil
}

// excuse returns an error if more acknowledged writes of a partition are
// missing than its failovers were reported to cost at most.
func (r *reports) excuse(missing map[string]uint64) error {
	for partition, n := range missing {
		if bound := r.bound[partition]; n > bound {
			return fmt.Errorf("%d acknowledged writes of %s are missing, and the failovers that were reported allow %d", n, partition, bound)
		}
	}
	return nil
}
