package http

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/skshohagmiah/clusterkit/topology"
)

// collector reads everything at scrape time: nothing is counted twice, and
// nothing global is touched.
type collector struct {
	c                                                        Config
	members, version, partitions, mine, isLeader, term       *prometheus.Desc
	commit, applied, contact, voters, hookCalls, hookFailed  *prometheus.Desc
	hookPanics, hooksRunning, hooksWaiting, moves, imbalance *prometheus.Desc
}

// newMetrics returns the handler of GET /metrics, over a registry of its own.
func newMetrics(c Config) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(c))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

func newCollector(c Config) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("clusterkit_"+name, help, labels, nil)
	}
	return &collector{
		c:            c,
		members:      d("members", "Nodes of the cluster by committed state.", "state"),
		version:      d("topology_version", "Raft index of the topology that this node has applied."),
		partitions:   d("partitions", "Partitions by state.", "state"),
		mine:         d("node_partitions", "Partitions of this node by role.", "role"),
		moves:        d("moves", "Moves that are under way."),
		imbalance:    d("imbalance_partitions", "Largest difference in primaries between two active nodes."),
		isLeader:     d("raft_is_leader", "1 if this node leads."),
		term:         d("raft_term", "Raft term."),
		commit:       d("raft_commit_index", "Raft commit index."),
		applied:      d("raft_applied_index", "Raft applied index."),
		contact:      d("raft_last_contact_seconds", "Seconds since this node heard the leader; negative if never."),
		voters:       d("raft_peers", "Members of the Raft configuration.", "suffrage"),
		hookCalls:    d("hook_calls_total", "Calls of hooks."),
		hookFailed:   d("hook_failures_total", "Calls of hooks that failed."),
		hookPanics:   d("hook_panics_total", "Calls of hooks that panicked."),
		hooksRunning: d("hooks_running", "Hooks that run now."),
		hooksWaiting: d("hooks_waiting", "Partitions whose hook waits for a slot or for another try."),
	}
}

// Describe sends every description.
func (m *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect sends every value.
func (m *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	t := m.c.Source.Topology()
	m.collectTopology(t, gauge)
	c := m.c.Node.Consensus()
	leads := 0.0
	if c.State == "leader" {
		leads = 1
	}
	gauge(m.isLeader, leads)
	gauge(m.term, float64(c.Term))
	gauge(m.commit, float64(c.CommitIndex))
	gauge(m.applied, float64(c.AppliedIndex))
	gauge(m.contact, c.LastContact)
	gauge(m.voters, float64(len(c.Voters)), "voter")
	gauge(m.voters, float64(len(c.NonVoters)), "non_voter")
	h := m.c.Node.Hooks()
	for _, x := range []struct {
		d *prometheus.Desc
		v uint64
	}{{m.hookCalls, h.Calls}, {m.hookFailed, h.Failures}, {m.hookPanics, h.Panics}} {
		ch <- prometheus.MustNewConstMetric(x.d, prometheus.CounterValue, float64(x.v))
	}
	gauge(m.hooksRunning, float64(h.Running))
	gauge(m.hooksWaiting, float64(h.Waiting))
}

func (m *collector) collectTopology(t *topology.Topology, gauge func(*prometheus.Desc, float64, ...string)) {
	byState := map[topology.NodeState]int{}
	for _, n := range t.Nodes {
		byState[n.State]++
	}
	for _, s := range []topology.NodeState{topology.NodeActive, topology.NodeDown} {
		gauge(m.members, float64(byState[s]), s.String())
	}
	gauge(m.version, float64(t.Version))
	for state, n := range states(t) {
		gauge(m.partitions, float64(n), string(state))
	}
	per := loads(t)
	l := per[m.c.Node.ID()]
	gauge(m.mine, float64(l.Primaries), "primary")
	gauge(m.mine, float64(l.Replicas-l.Primaries), "replica")
	gauge(m.mine, float64(l.Learners), "learner")
	moves := 0
	for _, p := range t.Partitions {
		if p.Move != nil {
			moves++
		}
	}
	gauge(m.moves, float64(moves))
	low, high, first := 0, 0, true
	for _, n := range t.Nodes {
		if n.State != topology.NodeActive {
			continue
		}
		p := per[n.ID].Primaries
		if first {
			low, high, first = p, p, false
		}
		low, high = min(low, p), max(high, p)
	}
	gauge(m.imbalance, float64(high-low))
}
