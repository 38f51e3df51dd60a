package http

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/skshohagmiah/clusterkit/topology"
)

// metrics is GET /metrics over a registry of its own, and the counters of the
// API itself.
type metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(c Config, b buildJSON, f *feed) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "clusterkit_http_requests_total", Help: "Requests to the HTTP API that have ended.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "clusterkit_http_request_duration_seconds", Help: "Time to answer a request; streams are not in it.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5},
		}, []string{"route"}),
	}
	m.registry.MustRegister(newCollector(c, b, f), m.requests, m.duration)
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// counted counts and times what goes through a route.
func (m *metrics) counted(route string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began, done := time.Now(), false
		defer func() {
			status := http.StatusInternalServerError // a panic on its way out
			if rec, ok := w.(*recorder); ok && done && rec.status != 0 {
				status = rec.status
			}
			m.count(route, r.Method, status)
			if route != "/events" {
				m.duration.WithLabelValues(route).Observe(time.Since(began).Seconds())
			}
		}()
		next(w, r)
		done = true
	}
}

// count counts a request. Clients cannot invent labels: what is no method of
// the API is one.
func (m *metrics) count(route, method string, status int) {
	if method != http.MethodGet && method != http.MethodHead {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
}

// collector reads everything at scrape time: nothing is counted twice, and
// nothing global is touched.
type collector struct {
	c     Config
	build buildJSON
	feed  *feed

	info, uptime, ready                                *prometheus.Desc
	members, version, partitions, unassigned, mine     *prometheus.Desc
	moves, rebalancing, imbalance                      *prometheus.Desc
	state, isLeader, term, peers                       *prometheus.Desc
	last, commit, applied, snapshot, contact           *prometheus.Desc
	hookCalls, hookFailed, hookPanics, running, queued *prometheus.Desc
	hookRetries, givenUp, oldest                       *prometheus.Desc
	leased, leaseLeft                                  *prometheus.Desc
	intents, inError, paused, data                     *prometheus.Desc
	planned                                            *prometheus.Desc
	goroutines                                         *prometheus.Desc
	streams                                            *prometheus.Desc
	insecure                                           *prometheus.Desc
	access                                             *prometheus.Desc
}

var _ prometheus.Collector = (*collector)(nil)

func newCollector(c Config, b buildJSON, f *feed) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("clusterkit_"+name, help, labels, nil)
	}
	return &collector{
		c: c, build: b, feed: f,
		info:        d("build_info", "1, with what was built from what.", "version", "go_version", "node"),
		uptime:      d("uptime_seconds", "Seconds since this node was made."),
		ready:       d("ready", "1 if the named check of readiness holds.", "check"),
		members:     d("members", "Nodes of the cluster by committed state.", "state"),
		version:     d("topology_version", "Raft index of the topology that this node has applied."),
		partitions:  d("partitions", "Partitions of the cluster by state.", "state"),
		unassigned:  d("partitions_unassigned", "Partitions of the cluster without a primary."),
		mine:        d("node_partitions", "Partitions of this node by role.", "role"),
		moves:       d("partition_moves", "Moves that are under way."),
		rebalancing: d("rebalance_in_progress", "1 while a move is under way."),
		imbalance:   d("imbalance_ratio", "Largest load of an active node over its fair share by weight; 1 is even.", "of"),
		state:       d("raft_state", "1 for the Raft state that this node is in.", "state"),
		isLeader:    d("raft_is_leader", "1 if this node leads."),
		term:        d("raft_term", "Raft term."),
		peers:       d("raft_peers", "Members of the Raft configuration.", "suffrage"),
		last:        d("raft_last_log_index", "Raft index of the last entry in the log."),
		commit:      d("raft_commit_index", "Raft commit index."),
		applied:     d("raft_applied_index", "Raft applied index."),
		snapshot:    d("raft_snapshot_index", "Raft index of the last snapshot."),
		contact:     d("raft_last_contact_seconds", "Seconds since this node heard the leader; negative if never."),
		hookCalls:   d("hook_calls_total", "Calls of hooks."),
		hookFailed:  d("hook_failures_total", "Calls of hooks that failed."),
		hookPanics:  d("hook_panics_total", "Calls of hooks that panicked."),
		running:     d("hooks_running", "Hooks that run now."),
		queued:      d("hook_queue_length", "Partitions whose hook waits for a slot or for another try."),
		hookRetries: d("hook_retries_total", "Calls of hooks that repeat an earlier one for the same duty."),
		givenUp:     d("hook_copies_given_up_total", "Copies that were given up: the replica is in error."),
		oldest:      d("hook_oldest_seconds", "Seconds that the duty has waited that has waited longest."),
		leased:      d("lease_valid", "1 while this node holds a lease, and may act as primary."),
		leaseLeft:   d("lease_remaining_seconds", "Seconds that are left of this node's lease."),
		intents:     d("node_intents", "Nodes by what an operator wants of them; flapping and restarting ones too.", "intent"),
		inError:     d("replicas_in_error", "Replicas whose copy was given up."),
		paused:      d("rebalance_paused", "1 for the reason for which healing and balancing are paused.", "reason"),
		data:        d("custom_data", "Keys and bytes of the replicated metadata.", "of"),
		planned:     d("rebalance_moves", "Moves of the newest rebalance by kind.", "kind"),
		goroutines:  d("goroutines", "Goroutines of the whole process."),
		streams:     d("watch_subscribers", "Open streams of /events."),
		insecure:    d("insecure", "1 if Options.Insecure leaves the cluster port or gossip unprotected."),
		access:      d("http_access", "1, with who may read and who may operate over HTTP: token, machine (this one alone) or anyone.", "may", "who"),
	}
}

// Describe sends every description.
func (m *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// gaugeFunc sends one gauge.
type gaugeFunc func(d *prometheus.Desc, v float64, labels ...string)

// Collect sends every value.
func (m *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(m.info, 1, m.build.Version, m.build.Go, m.c.Node.ID())
	gauge(m.uptime, time.Since(m.c.Started).Seconds())
	seen := make(map[string]bool) // a name given twice would spoil the scrape
	for _, check := range m.c.Node.Ready() {
		if !seen[check.Name] {
			gauge(m.ready, oneIf(check.OK), check.Name)
			seen[check.Name] = true
		}
	}
	gauge(m.streams, float64(len(m.feed.slots)))
	gauge(m.insecure, oneIf(m.c.Insecure))
	gauge(m.access, 1, "read", m.c.Access.who(toRead))
	gauge(m.access, 1, "operate", m.c.Access.who(toOperate))
	m.collectTopology(m.c.Source.Topology(), gauge)
	m.collectConsensus(m.c.Node.Consensus(), gauge)
	h := m.c.Node.Hooks()
	for _, x := range []struct {
		d *prometheus.Desc
		v uint64
	}{{m.hookCalls, h.Calls}, {m.hookFailed, h.Failures}, {m.hookPanics, h.Panics}, {m.hookRetries, h.Retries}, {m.givenUp, h.GivenUp}} {
		ch <- prometheus.MustNewConstMetric(x.d, prometheus.CounterValue, float64(x.v))
	}
	gauge(m.running, float64(h.Running))
	gauge(m.queued, float64(h.Waiting))
	gauge(m.oldest, h.Oldest)
	if m.c.Lease != nil {
		l := m.c.Lease()
		gauge(m.leased, oneIf(l.Valid))
		gauge(m.leaseLeft, l.Remaining)
	}
	gauge(m.goroutines, float64(runtime.NumGoroutine()))
	m.collectOperations(m.c.Source.Topology(), gauge)
}

// collectOperations sends what operators and the planner have decided.
func (m *collector) collectOperations(t *topology.Topology, gauge gaugeFunc) {
	intents := map[string]int{"cordon": 0, "drain": 0, "leave": 0, "restart": 0, "flapping": 0}
	for _, n := range t.Nodes {
		if n.Intent != topology.IntentNone {
			intents[string(n.Intent)]++
		}
		if n.Restart > 0 {
			intents["restart"]++
		}
		if n.Flapping {
			intents["flapping"]++
		}
	}
	for intent, n := range intents {
		gauge(m.intents, float64(n), intent)
	}
	r := describeRebalance(t)
	gauge(m.inError, float64(len(r.InError)))
	for _, reason := range []topology.PauseReason{topology.PauseOperator, topology.PauseMassFailure} {
		gauge(m.paused, oneIf(t.Pause != nil && t.Pause.Reason == reason), string(reason))
	}
	bytes := 0
	for _, d := range t.Data {
		bytes += len(d.Key) + len(d.Value)
	}
	gauge(m.data, float64(len(t.Data)), "keys")
	gauge(m.data, float64(bytes), "bytes")
	if b := r.Rebalance; b != nil {
		gauge(m.planned, float64(b.Moves), "started")
		gauge(m.planned, float64(b.Copies), "with_data")
		gauge(m.planned, float64(b.Aborted), "aborted")
	}
}

func (m *collector) collectConsensus(c Consensus, gauge gaugeFunc) {
	if c.State != "" {
		gauge(m.state, 1, c.State)
	}
	gauge(m.isLeader, oneIf(c.State == "leader"))
	gauge(m.term, float64(c.Term))
	gauge(m.peers, float64(len(c.Voters)), "voter")
	gauge(m.peers, float64(len(c.NonVoters)), "nonvoter")
	gauge(m.last, float64(c.LastLogIndex))
	gauge(m.commit, float64(c.CommitIndex))
	gauge(m.applied, float64(c.AppliedIndex))
	gauge(m.snapshot, float64(c.SnapshotIndex))
	gauge(m.contact, c.LastContact)
}

func (m *collector) collectTopology(t *topology.Topology, gauge gaugeFunc) {
	byState := map[topology.NodeState]int{topology.NodeActive: 0, topology.NodeDown: 0}
	for _, n := range t.Nodes {
		byState[n.State]++
	}
	for s, n := range byState {
		gauge(m.members, float64(n), s.String())
	}
	gauge(m.version, float64(t.Version))
	byPartition := states(t)
	for state, n := range byPartition {
		gauge(m.partitions, float64(n), string(state))
	}
	gauge(m.unassigned, float64(byPartition[topology.StateOffline]+byPartition[topology.StateUnplaced]))
	b := balanceOf(t)
	mine := b.nodes[m.c.Node.ID()]
	gauge(m.mine, float64(mine.Primaries), "primary")
	gauge(m.mine, float64(mine.Replicas-mine.Primaries), "replica")
	gauge(m.mine, float64(mine.Learners), "learner")
	under := moves(t)
	gauge(m.moves, float64(under))
	gauge(m.rebalancing, oneIf(under > 0))
	gauge(m.imbalance, b.primaries.Imbalance, "primaries")
	gauge(m.imbalance, b.replicas.Imbalance, "replicas")
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
