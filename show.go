package clusterkit

import (
	"net/http"

	ckhttp "github.com/skshohagmiah/clusterkit/http"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// Handler returns the HTTP API as a handler, to be mounted in a server of
// the application's own as well. It serves before Start and after Stop.
func (c *ClusterKit) Handler() http.Handler { return c.handler }

func (c *ClusterKit) httpConfig() ckhttp.Config {
	return ckhttp.Config{
		Source: source{c}, Node: shown{c}, Operator: operator{c}, Lease: shown{c}.Lease, Logger: c.settings.Logger, Started: c.began,
		Insecure: c.settings.unprotected() != nil,
		Access:   c.settings.access(), Profiles: c.settings.Profiling,
	}
}

// source shows the applied topology to hooks and to the HTTP API.
type source struct{ kit *ClusterKit }

var _ ckhttp.Source = source{}

func (s source) Topology() *topology.Topology                   { return s.kit.Snapshot() }
func (s source) Subscribe() (<-chan struct{}, func())           { return s.kit.published.subscribe() }
func (s source) Locate(key string) (*topology.Partition, error) { return s.kit.GetPartition(key) }

func (s source) Encoding() string {
	h, err := ring.ParseHash(s.kit.Snapshot().Hash)
	if err != nil {
		return ""
	}
	return h.Encoding()
}

// shown shows the node itself to the HTTP API.
type shown struct{ kit *ClusterKit }

var (
	_ ckhttp.Node      = shown{}
	_ ckhttp.Gossiping = shown{}
)

func (s shown) ID() string { return s.kit.settings.NodeID }

func (s shown) GossipAddr() string {
	if r := s.kit.running.Load(); r != nil {
		return r.record.GossipAddr
	}
	return ""
}

func (s shown) Consensus() ckhttp.Consensus {
	r := s.kit.running.Load()
	if r == nil {
		return ckhttp.Consensus{State: "starting", LastContact: -1}
	}
	c := r.store.Consensus()
	out := ckhttp.Consensus{
		State: c.State, Term: c.Term, LeaderUUID: c.LeaderUUID, LeaderAddr: c.LeaderAddress,
		LastLogIndex: c.LastLogIndex, CommitIndex: c.CommitIndex, AppliedIndex: c.AppliedIndex,
		SnapshotIndex: c.LastSnapshotIndex, LastContact: c.LastContact.Seconds(),
	}
	for _, server := range c.Servers {
		if server.Voter {
			out.Voters = append(out.Voters, server.UUID)
		} else {
			out.NonVoters = append(out.NonVoters, server.UUID)
		}
	}
	return out
}

func (s shown) Hooks() ckhttp.Hooks {
	r := s.kit.running.Load()
	if r == nil {
		return ckhttp.Hooks{}
	}
	h := r.hooks.Stats()
	return ckhttp.Hooks{Calls: h.Calls, Failures: h.Failures, Panics: h.Panics, Running: h.Running, Waiting: h.Waiting, Retries: h.Retries, GivenUp: h.GivenUp, Oldest: h.Oldest.Seconds()}
}

func (s shown) Lease() ckhttp.Lease {
	r := s.kit.running.Load()
	if r == nil {
		return ckhttp.Lease{}
	}
	left := r.leases.Remaining().Seconds()
	return ckhttp.Lease{Valid: left > 0, Remaining: left}
}

func (s shown) Ready() []ckhttp.Check {
	t := s.kit.Snapshot()
	r := s.kit.running.Load()
	member := ckhttp.Check{Name: "member", OK: r != nil && r.registered(t)}
	if !member.OK {
		member.Detail = "this incarnation of the node is not registered"
	}
	leader := ckhttp.Check{Name: "leader"}
	if r != nil {
		uuid, _ := r.store.Leader()
		leader.OK = uuid != ""
	}
	if !leader.OK {
		leader.Detail = "no Raft leader is known"
	}
	inSync := ckhttp.Check{Name: "replicas_in_sync", OK: t.Founded()}
	for _, p := range t.Partitions {
		if rep := p.Replica(s.kit.settings.NodeID); rep != nil && rep.State == topology.ReplicaLearner {
			inSync.OK, inSync.Detail = false, p.ID+" is still copying"
			break
		}
	}
	return []ckhttp.Check{member, leader, inSync}
}
