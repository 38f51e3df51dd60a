package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/skshohagmiah/clusterkit/topology"
)

// status is the command that shows the cluster.
type status struct {
	api
	JSON bool `name:"json" help:"Print JSON."`
}

// statusJSON is what status prints for programs: parts of the HTTP API's answers.
type statusJSON struct {
	ID              string                          `json:"id"`
	Name            string                          `json:"name"`
	Version         uint64                          `json:"version"`
	Leader          string                          `json:"leader_id"` // "" while none is known
	Nodes           []statusNode                    `json:"nodes"`
	Partitions      map[topology.PartitionState]int `json:"partition_states"`
	Primaries       even                            `json:"primaries"`
	Replicas        even                            `json:"replicas"`
	Moves           int                             `json:"moves"`
	PartitionCount  int                             `json:"partition_count"`
	ReplicationWant int                             `json:"replication_factor"`
}

// statusNode is a node of GET /nodes.
type statusNode struct {
	ID        string `json:"id"`
	IP        string `json:"ip"`
	Status    string `json:"status"`
	Reason    string `json:"down_reason,omitempty"`
	Zone      string `json:"zone"`
	Weight    int    `json:"weight"`
	Primaries int    `json:"primaries"`
	Replicas  int    `json:"replicas"`
	Learners  int    `json:"learners"`
	Suffrage  string `json:"suffrage,omitempty"`
	Leader    bool   `json:"leader"`
}

// even says how even something is over the active nodes.
type even struct {
	Min       int     `json:"min"`
	Max       int     `json:"max"`
	Avg       float64 `json:"avg"`
	Imbalance float64 `json:"imbalance"`
}

// fetch asks for all that status shows. The parts may be a version apart.
func (c *status) fetch(ctx context.Context) (statusJSON, error) {
	var cluster topology.Document
	var nodes struct {
		Nodes []statusNode `json:"nodes"`
	}
	var stats struct {
		States    map[topology.PartitionState]int `json:"states"`
		Moves     int                             `json:"moves"`
		Primaries even                            `json:"primaries"`
		Replicas  even                            `json:"replicas"`
	}
	var leader struct {
		ID string `json:"leader_id"`
	}
	err := c.get(ctx, "cluster", nil, &cluster)
	if err == nil {
		err = c.get(ctx, "nodes", nil, &nodes)
	}
	if err == nil {
		err = c.get(ctx, "partitions/stats", nil, &stats)
	}
	if err != nil {
		return statusJSON{}, err
	}
	if cluster.Cluster.ID == "" || nodes.Nodes == nil || stats.States == nil {
		return statusJSON{}, c.stranger(c.Addr.base.JoinPath("cluster"), "with JSON of another shape")
	}
	var none *refused
	if err := c.get(ctx, "consensus/leader", nil, &leader); err != nil && (!errors.As(err, &none) || none.Code != "no_leader") {
		return statusJSON{}, err
	}
	d := cluster.Cluster
	return statusJSON{
		ID: d.ID, Name: d.Name, Version: d.Version, Leader: leader.ID, Nodes: nodes.Nodes,
		Partitions: stats.States, Primaries: stats.Primaries, Replicas: stats.Replicas, Moves: stats.Moves,
		PartitionCount: d.Config.PartitionCount, ReplicationWant: d.Config.ReplicationFactor,
	}, nil
}

// Run implements the command.
func (c *status) Run(e *env) error {
	s, err := c.fetch(e.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, s)
	}
	printStatus(e.out, s)
	return nil
}

// printStatus prints a cluster in less than 80 columns, but for long names.
func printStatus(out io.Writer, s statusJSON) {
	leader := s.Leader
	if leader == "" {
		leader = "none known: an election is under way, or no quorum can be reached"
	}
	say(out, "cluster     %s (version %d)\nleader      %s\npartitions  %d:", s.Name, s.Version, leader, s.PartitionCount)
	order := []topology.PartitionState{topology.StateHealthy, topology.StateDegraded, topology.StateMoving, topology.StateOffline, topology.StateUnplaced}
	for _, state := range order {
		if n := s.Partitions[state]; n > 0 {
			say(out, " %d %s", n, state)
		}
	}
	say(out, "; replication factor %d\nprimaries   %s\nreplicas    %s\n\n", s.ReplicationWant, s.Primaries, s.Replicas)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(w, "NODE\tADDRESS\tSTATUS\tRAFT\tPRIMARIES\tREPLICAS\tLEARNERS\n")
	for _, n := range s.Nodes {
		raft := n.Suffrage
		switch {
		case n.Leader:
			raft = "leader"
		case raft == "":
			raft = "-"
		}
		state := n.Status
		if n.Reason != "" {
			state += " (" + n.Reason + ")"
		}
		say(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\n", n.ID, n.IP, state, raft, n.Primaries, n.Replicas, n.Learners)
	}
	_ = w.Flush() // standard output is gone: nobody to tell
}

// String is "5 to 6 per node", and how far above its fair share by weight the
// fullest node is.
func (e even) String() string {
	if e.Max == 0 {
		return "none"
	}
	return fmt.Sprintf("%d to %d per node (fullest %.2f of its share)", e.Min, e.Max, e.Imbalance)
}
