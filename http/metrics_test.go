package http

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	get(h, "/cluster")
	do(h, "BREW", "/cluster", "")
	get(h, "/nothing")
	do(h, "GET", "/cluster", strings.Repeat("x", 5000))
	get(h, "/partitions/key?key=panic")
	body := get(h, "/metrics").Body.String()
	for _, want := range []string{
		`clusterkit_members{state="active"} 2`,
		`clusterkit_members{state="down"} 0`,
		`clusterkit_partitions{state="degraded"} 1`,
		`clusterkit_partitions_unassigned 0`,
		`clusterkit_node_partitions{role="primary"} 1`,
		`clusterkit_node_partitions{role="learner"} 1`,
		`clusterkit_topology_version 4`,
		`clusterkit_hook_failures_total 1`,
		`clusterkit_raft_is_leader 1`,
		`clusterkit_raft_state{state="leader"} 1`,
		`clusterkit_raft_peers{suffrage="nonvoter"} 2`,
		`clusterkit_ready{check="member"} 1`,
		`clusterkit_watch_subscribers 0`,
		`clusterkit_imbalance_ratio{of="primaries"} 1`,
		`clusterkit_http_requests_total{code="200",method="GET",route="/cluster"} 1`,
		`clusterkit_http_requests_total{code="405",method="other",route="/cluster"} 1`,
		`clusterkit_http_requests_total{code="404",method="GET",route="(unknown)"} 1`,
		`clusterkit_http_requests_total{code="413",method="GET",route="(refused)"} 1`,
		`clusterkit_http_requests_total{code="500",method="GET",route="/partitions/key"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	problems, err := testutil.GatherAndLint(h.metrics.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "clusterkit_") {
			t.Errorf("a foreign metric: %s", line)
		}
	}
}

// TestMetricsBeforeThereIsACluster: a scrape never fails.
func TestMetricsBeforeThereIsACluster(t *testing.T) {
	t.Parallel()
	f := unfounded()
	f.ready = []Check{{Name: "member"}, {Name: "member"}}
	if w := get(handler(f), "/metrics"); w.Code != 200 || !strings.Contains(w.Body.String(), "clusterkit_topology_version 0") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
