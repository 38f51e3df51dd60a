package http

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	const tag = `"C-4"`
	for _, tc := range []struct {
		headers []string
		want    bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{`"C-4"`}, true},
		{[]string{`W/"C-4"`}, true},
		{[]string{`"x", "C-4"`}, true},
		{[]string{`"x",W/"C-4" , "y"`}, true},
		{[]string{`"x"`, `"C-4"`}, true},
		{[]string{`"a,b", "C-4"`}, true},
		{[]string{`*`}, true},
		{[]string{` * `}, true},
		{[]string{`"*"`}, false},
		{[]string{`"x", *`}, false},
		{[]string{`C-4`}, false},
		{[]string{`"C-4`}, false},
		{[]string{`"C-44"`}, false},
		{[]string{`"D-4"`}, false},
		{[]string{`"x,"C-4"`}, false},
		{[]string{`w/"C-4"`}, false},
		{[]string{`W/`}, false},
		{[]string{`W/W/"C-4"`}, false},
	} {
		if got := matches(tc.headers, tag); got != tc.want {
			t.Errorf("%q: %t", tc.headers, got)
		}
	}
}

func TestETagChangesWithEveryCommit(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	tag := get(h, "/cluster").Header().Get("ETag")
	if tag != `"CLUSTER7-4"` {
		t.Errorf("ETag is %s", tag)
	}
	for _, tc := range []struct {
		header string
		want   int
	}{
		{tag, 304}, {"W/" + tag, 304}, {`"x", ` + tag, 304}, {"*", 304}, {`"x"`, 200}, {"", 200}, {strings.Trim(tag, `"`), 200},
		{`"CLUSTER8-4"`, 200},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := do(h, method, "/cluster", "", "If-None-Match", tc.header)
			if w.Code != tc.want || w.Header().Get("ETag") != tag {
				t.Errorf("%s with %q: %d, %q", method, tc.header, w.Code, w.Header().Get("ETag"))
			}
			if w.Code == http.StatusNotModified && w.Body.Len() > 0 {
				t.Errorf("304 with a body: %s", w.Body)
			}
		}
	}
	f.commit(copied)
	if w := get(h, "/cluster", "If-None-Match", tag); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
		t.Errorf("after a commit: %d, %q", w.Code, w.Header().Get("ETag"))
	}
	now := get(h, "/cluster").Header().Get("ETag")
	f.commit(nothing)
	if w := get(h, "/cluster", "If-None-Match", now); w.Code != http.StatusNotModified {
		t.Errorf("after a commit that changed nothing: %d", w.Code)
	}
}

// TestOneEncodingPerVersion: pollers cost an encoding only when there is
// something new, however many there are.
func TestOneEncodingPerVersion(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	tag := etag(f.Topology())
	for range 10 {
		get(h, "/cluster", "If-None-Match", tag)
	}
	if d := h.cached.Load(); d == nil || d.body != nil {
		t.Error("a 304 encoded the map")
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				get(h, "/cluster")
			}
		})
	}
	all.Wait()
	first := h.cached.Load()
	f.commit(nothing)
	get(h, "/cluster")
	if h.cached.Load() != first {
		t.Error("the same version was encoded again")
	}
	f.commit(copied)
	get(h, "/cluster")
	if h.cached.Load() == first {
		t.Error("a new version is not served")
	}
}

// TestALateRequestServesWhatIsNewer: tag and body belong together even when a
// request looked at the topology before a commit and at the cache after it.
func TestALateRequestServesWhatIsNewer(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	old := f.Topology()
	f.commit(copied)
	get(h, "/cluster")
	if d := h.document(old); d.topology.Version != 5 || d.etag != `"CLUSTER7-5"` {
		t.Errorf("version %d as %s", d.topology.Version, d.etag)
	}
	other := &topology.Topology{ClusterID: "OTHER", Version: 1}
	if d := h.document(other); d.topology != other {
		t.Errorf("another cluster is served version %d", d.topology.Version)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name            string
		counts, weights []int
		want            spread
	}{
		{"nobody", nil, nil, spread{}},
		{"nothing", []int{0, 0}, []int{1, 1}, spread{}},
		{"even", []int{4, 4}, []int{1, 1}, spread{4, 4, 4, 1}},
		{"twice the share", []int{8, 0}, []int{1, 1}, spread{0, 8, 4, 2}},
		{"even by weight", []int{6, 2}, []int{3, 1}, spread{2, 6, 4, 1}},
		{"uneven by weight", []int{4, 4}, []int{3, 1}, spread{4, 4, 4, 2}},
	} {
		if got := spreadOf(tc.counts, tc.weights); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func BenchmarkCluster304(b *testing.B) {
	f := newFake()
	h := handler(f)
	tag := etag(f.Topology())
	for b.Loop() {
		get(h, "/cluster", "If-None-Match", tag)
	}
}
