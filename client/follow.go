package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// maxMap bounds a map: the largest cluster's is a third of it.
	maxMap = 64 << 20
	// fetchWithin bounds one fetch of the map.
	fetchWithin = 5 * time.Second
	// fetchPause is the least time between two fetches, so that a cluster in
	// turmoil is not asked for every version of its map.
	fetchPause = 5 * time.Millisecond
	// tryMin and tryMax bound the pause after a round of nodes none of which
	// answered.
	tryMin = 20 * time.Millisecond
	tryMax = 2 * time.Second
	// silence is how long a stream may be quiet: the server's heartbeat comes
	// every 15 seconds.
	silence = 40 * time.Second
	// reopenMin and reopenMax bound the pause before another stream, which
	// doubles with each that did not last: steady is what counts as lasting.
	reopenMin = 20 * time.Millisecond
	reopenMax = 30 * time.Second
	steady    = 5 * time.Second
)

// follower keeps the map of a client. It belongs to the goroutine of follow.
type follower struct {
	c     *Client
	seeds []string
	etag  string
	first string // the node that knows better, and is asked first; "" for none

	stream  string             // the node whose events are read; "" for none
	abandon context.CancelFunc // ends that stream
	events  chan struct{}      // cap 1: it has brought something
	ended   chan time.Duration // cap 1: it has ended, after that time
	// reopen fires when another stream may be tried; nil while one may at once.
	reopen <-chan time.Time
	pause  time.Duration
}

// follow keeps the map until the client is closed: it fetches it, then waits
// for a word of change from an event stream, from Refresh, or from the poll.
func (c *Client) follow(seeds []string) {
	f := &follower{c: c, seeds: seeds, events: make(chan struct{}, 1), ended: make(chan time.Duration, 1), pause: reopenMin}
	var streams sync.WaitGroup
	defer streams.Wait()
	wait := tryMin
	for c.ctx.Err() == nil {
		addr, err := f.fetchAny()
		c.troubled(err)
		if err != nil {
			c.o.logger.Debug("no node answers with a map", "error", err)
			c.rest(wait/2 + rand.N(wait)) //#nosec G404 -- jitter is no secret
			wait = min(2*wait, tryMax)
			continue
		}
		wait = tryMin
		switch {
		case c.o.noStreams || f.reopen != nil:
		case f.stream == "":
			var ctx context.Context
			ctx, f.abandon = context.WithCancel(c.ctx)
			f.stream = addr
			streams.Go(func() { f.ended <- c.stream(ctx, addr, f.events) })
		case !f.counts(f.stream):
			// Its cluster has given the node up, of which it may never hear.
			f.abandon()
		}
		f.await()
		c.rest(fetchPause)
	}
	if f.abandon != nil {
		f.abandon()
	}
}

// counts reports whether the node at the address is an active member.
func (f *follower) counts(addr string) bool {
	return slices.ContainsFunc(f.c.current.Load().Nodes, func(n *Node) bool { return n.HTTP == addr && n.Active })
}

// await returns when the map should be fetched.
func (f *follower) await() {
	c := f.c
	for {
		poll := time.NewTimer(c.o.poll + rand.N(c.o.poll/5+1)) //#nosec G404 -- jitter is no secret
		select {
		case <-f.events:
			f.first = f.stream // the others may hear of it later
		case <-c.refresh:
		case lasted := <-f.ended:
			f.retire(lasted)
		case <-f.reopen:
			f.reopen = nil
		case <-poll.C:
			if f.unchanged() {
				continue
			}
		case <-c.ctx.Done():
		}
		poll.Stop()
		return
	}
}

// retire notes the end of the stream, and when the next one may be opened.
// Where none lasts, trying for one must not become a poll of its own.
func (f *follower) retire(lasted time.Duration) {
	f.abandon()
	f.stream = ""
	if lasted >= steady {
		f.pause = reopenMin
	}
	f.reopen = time.After(f.pause/2 + rand.N(f.pause)) //#nosec G404 -- jitter is no secret
	f.pause = min(2*f.pause, reopenMax)
}

// unchanged asks a node for the ETag of its map, and reports whether it is the
// known one. Another node each time: one that is cut off from its cluster says
// for ever that nothing has changed.
func (f *follower) unchanged() bool {
	nodes := f.c.current.Load().Nodes
	if len(nodes) == 0 {
		return false
	}
	addr := nodes[rand.IntN(len(nodes))].HTTP //#nosec G404 -- any node will do
	ctx, cancel := context.WithTimeout(f.c.ctx, fetchWithin)
	defer cancel()
	resp, err := f.c.get(ctx, http.MethodHead, addr, "/cluster", "")
	if err != nil {
		return false // fetchAny finds one that answers
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	f.first = addr
	return resp.Header.Get("ETag") == f.etag
}

// rest sleeps, but not beyond Close.
func (c *Client) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// fetchAny fetches the map from the first node that answers, which it returns:
// the one that knows better, the known ones in random order, the seeds.
func (f *follower) fetchAny() (string, error) {
	c := f.c
	var addrs []string
	if m := c.current.Load(); m != nil {
		for _, n := range m.Nodes {
			if n.Active {
				addrs = append(addrs, n.HTTP)
			}
		}
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	}
	if f.first != "" {
		addrs = slices.Insert(addrs, 0, f.first)
		f.first = ""
	}
	var errs []error
	for _, addr := range append(addrs, f.seeds...) {
		if c.ctx.Err() != nil {
			return "", ErrClosed
		}
		tag, err := c.fetch(addr, f.etag)
		if err == nil {
			f.etag = tag
			return addr, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return "", errors.Join(errs...)
}

func (c *Client) url(addr, path string) string {
	if c.o.tls != nil {
		return "https://" + addr + path
	}
	return "http://" + addr + path
}

// get asks a node's cluster API, and only that, under the client's token.
func (c *Client) get(ctx context.Context, method, addr, path, etag string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url(addr, path), nil)
	if err != nil {
		return nil, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	if c.o.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.token)
	}
	return c.http.Do(req)
}

// fetch asks one node for the map. An unchanged one costs a 304.
func (c *Client) fetch(addr, etag string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, fetchWithin)
	defer cancel()
	resp, err := c.get(ctx, http.MethodGet, addr, "/cluster", etag)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return etag, nil
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return "", &hopeless{fmt.Errorf("GET /cluster answers %s: give WithAuthToken the cluster's token", resp.Status)}
	default:
		return "", fmt.Errorf("GET /cluster answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMap+1))
	if err != nil {
		return "", err
	}
	if len(body) > maxMap {
		return "", fmt.Errorf("the map is larger than %d bytes", maxMap)
	}
	m, err := parseMap(body, c.o.service)
	if err != nil {
		return "", err
	}
	old := c.current.Load()
	if old != nil && old.ClusterID != m.ClusterID {
		return "", fmt.Errorf("the node belongs to another cluster (%s, ours is %s)", m.ClusterID, old.ClusterID)
	}
	c.publish(m)
	if old := c.current.Load(); old.Version > m.Version {
		return "", fmt.Errorf("the node is behind: version %d, known is %d", m.Version, old.Version)
	}
	return resp.Header.Get("ETag"), nil
}

// parseMap decodes GET /cluster.
func parseMap(body []byte, service string) (*Map, error) {
	var d topology.Document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, fmt.Errorf("client: GET /cluster: %w: is this a ClusterKit HTTP address?", err)
	}
	return newMap(&d, service)
}

// stream follows a node's events until they end, and returns how long that was.
// Each word of change wakes the follower; what has changed it learns from the map.
func (c *Client) stream(ctx context.Context, addr string, events chan<- struct{}) (lasted time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	resp, err := c.get(ctx, http.MethodGet, addr, fmt.Sprintf("/events?from=%d", c.current.Load().Version), "")
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return 0
	}
	began := c.now()
	defer func() { lasted = c.now() - began }()
	readEvents(resp.Body, func() { quiet.Reset(silence) }, func(name string) {
		// Of who leads Raft the map says nothing. Everything else means that
		// the map is old: also a compacted event, which says that the changes
		// since our version are not to be had, for here the whole map is fetched.
		if name != "leader" {
			wake(events)
		}
	})
	return 0 // see above
}

// readEvents reads server-sent events until the stream ends, and names each
// that carries data. heard is called for every line. The data is skipped: it
// may be as long as a map.
func readEvents(body io.Reader, heard func(), event func(name string)) {
	r := bufio.NewReaderSize(body, 4<<10)
	name, data := "", false
	for {
		line, partial, err := r.ReadLine()
		if err != nil {
			return
		}
		heard()
		field, value, _ := bytes.Cut(line, []byte(":"))
		switch string(field) {
		case "event":
			name = string(bytes.TrimPrefix(value, []byte(" ")))
		case "data":
			data = true
		case "":
			if len(line) > 0 {
				break // a comment
			}
			if data {
				event(name)
			}
			name, data = "", false
		}
		for partial && err == nil {
			_, partial, err = r.ReadLine()
		}
	}
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
