package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// again is the pause before a stream that ended is opened again.
const again = time.Second

// watch is the command that follows /events.
type watch struct {
	api
}

// Help implements kong.HelpProvider.
func (*watch) Help() string {
	return `Follows one node's view until it is interrupted. A change that came and went between two looks at a busy cluster may be left out, the last state never is. When the node goes away, watch tries again every second and tells what has changed meanwhile.`
}

// errFormat is an event of another shape: trying again would not help.
var errFormat = errors.New("an event has another shape: use the clusterkit of the cluster's version")

// Run implements the command.
func (c *watch) Run(e *env) error {
	v := &viewer{out: e.out, now: e.now}
	for {
		err := c.stream(e.ctx, v.at, v.event)
		switch {
		case e.ctx.Err() != nil:
			return nil // interrupted: the way to end it
		case !v.seen || errors.Is(err, errFormat):
			return err
		case !v.lost:
			say(e.err, "the stream of %s ended (%v): trying again every second\n", c.Addr.base.Host, err)
			v.lost = true
		}
		select {
		case <-e.ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

// topologyEvent is the data of a topology event, as far as it is shown.
type topologyEvent struct {
	Version  uint64 `json:"version"`
	Snapshot bool   `json:"snapshot"`
	Cluster  struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"cluster"`
	Nodes        []watchedNode      `json:"nodes"`
	RemovedNodes []string           `json:"removed_nodes"`
	Partitions   []watchedPartition `json:"partitions"`
}

// viewer prints what differs between what it has shown and what it is told.
type viewer struct {
	out  io.Writer
	now  func() time.Time
	seen bool   // something was shown
	lost bool   // that the stream ended was said
	at   string // id of the last event

	cluster, leader string
	term            uint64
	nodes           map[string]watchedNode
	partitions      map[string]watchedPartition
}

// line prints one change with the time and the version, "" where it has none.
func (v *viewer) line(version uint64, format string, args ...any) {
	at := "-"
	if version != 0 {
		at = fmt.Sprintf("v%d", version)
	}
	say(v.out, "%s %s %s\n", v.now().Format("15:04:05.000"), at, fmt.Sprintf(format, args...))
}

// event shows one event.
func (v *viewer) event(e sse) error {
	v.lost = false
	switch e.name {
	case "topology":
		var t topologyEvent
		if err := json.Unmarshal(e.data, &t); err != nil || t.Version == 0 {
			return errFormat
		}
		v.topology(t)
		v.at = e.id
	case "compacted":
		var c struct {
			From    uint64 `json:"from"`
			Version uint64 `json:"version"`
		}
		if err := json.Unmarshal(e.data, &c); err != nil || c.From == 0 {
			return errFormat
		}
		v.line(c.Version, "the changes since v%d are not known any more: what differs now follows", c.From)
	case "leader":
		var l struct {
			ID   string `json:"leader_id"`
			Term uint64 `json:"term"`
		}
		if err := json.Unmarshal(e.data, &l); err != nil {
			return errFormat
		}
		if v.seen && l.ID == v.leader && l.Term == v.term {
			return nil // told again on a new stream
		}
		v.leader, v.term = l.ID, l.Term
		if l.ID == "" {
			v.line(0, "no leader is known (term %d)", l.Term)
		} else {
			v.line(0, "%s leads (term %d)", l.ID, l.Term)
		}
	}
	v.seen = true
	return nil
}

// topology shows a snapshot as a whole the first time, and otherwise what it
// changes.
func (v *viewer) topology(t topologyEvent) {
	if v.nodes == nil || v.cluster != t.Cluster.ID {
		v.cluster = t.Cluster.ID
		v.nodes, v.partitions = make(map[string]watchedNode), make(map[string]watchedPartition)
		for _, n := range t.Nodes {
			v.nodes[n.ID] = n
		}
		for _, p := range t.Partitions {
			v.partitions[p.ID] = p
		}
		v.line(t.Version, "%s: %s; %s", t.Cluster.Name, countNodes(t.Nodes), countPartitions(t.Partitions))
		return
	}
	named := make(map[string]bool)
	for _, n := range t.Nodes {
		named[n.ID] = true
		old, known := v.nodes[n.ID]
		if what := n.since(old, known); what != "" {
			v.line(t.Version, "%s %s", n.ID, what)
		}
		v.nodes[n.ID] = n
	}
	if t.Snapshot {
		for _, id := range sortedKeys(v.nodes) {
			if !named[id] {
				t.RemovedNodes = append(t.RemovedNodes, id)
			}
		}
	}
	for _, id := range t.RemovedNodes {
		delete(v.nodes, id)
		v.line(t.Version, "%s removed", id)
	}
	for _, p := range t.Partitions {
		if what := p.since(v.partitions[p.ID]); what != "" {
			v.line(t.Version, "%s %s", p.ID, what)
		}
		v.partitions[p.ID] = p
	}
}
