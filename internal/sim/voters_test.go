package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// raftView is what a node says of Raft.
type raftView struct {
	Leader string   `json:"leader_id"`
	Voters []string `json:"voters"`
}

// page is an http.ResponseWriter in memory.
type page struct {
	bytes.Buffer
	header http.Header
}

func (p *page) Header() http.Header { return p.header }
func (p *page) WriteHeader(int)     {}

// raftOf asks a running node for the Raft configuration, as an operator would.
func (w *World) raftOf(i int) (v raftView, err error) {
	_, kit := w.running(Name(i))
	req, err := http.NewRequest(http.MethodGet, "http://node/consensus/stats", nil)
	if err != nil {
		return v, err
	}
	out := &page{header: make(http.Header)}
	kit.Handler().ServeHTTP(out, req)
	return v, json.Unmarshal(out.Bytes(), &v)
}

// voters waits until every running node knows of five voters that run, one or
// two in each zone.
func (r *script) voters(within string) error {
	d, err := time.ParseDuration(within)
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); ; time.Sleep(100 * time.Millisecond) {
		if err = r.wellSpread(); err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (r *script) wellSpread() error {
	running := r.w.Running()
	for _, i := range running {
		v, err := r.w.raftOf(i)
		if err != nil {
			return err
		}
		zones := make(map[string]int)
		for _, id := range v.Voters {
			if k := number(id); slices.Contains(running, k) {
				zones[r.w.zone(k)]++
			}
		}
		if len(v.Voters) != 5 || len(zones) != 3 || zones["a"]+zones["b"]+zones["c"] != 5 || max(zones["a"], zones["b"], zones["c"]) > 2 {
			return fmt.Errorf("%s knows of the voters %v; running are %v, voters among them by zone: %v", Name(i), v.Voters, running, zones)
		}
	}
	return nil
}

// crashVoter crashes the voter that the step describes.
func (r *script) crashVoter(step string) error {
	v, err := r.w.raftOf(r.w.Running()[0])
	if err != nil {
		return err
	}
	zones := make(map[string]int)
	for _, id := range v.Voters {
		zones[r.w.zone(number(id))]++
	}
	for _, id := range v.Voters {
		i := number(id)
		switch {
		case !slices.Contains(r.w.Running(), i):
		case strings.HasSuffix(step, "the only voter of its zone") && zones[r.w.zone(i)] == 1,
			strings.HasSuffix(step, "the leader") && id == v.Leader,
			strings.HasSuffix(step, "a follower that votes") && id != v.Leader:
			r.fallen = i
			return r.w.Crash(i)
		}
	}
	return fmt.Errorf("there is none: %+v", v)
}

func number(id string) (i int) {
	_, _ = fmt.Sscanf(id, "node-%d", &i)
	return i
}
