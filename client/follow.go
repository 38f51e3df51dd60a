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
	"net"
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
)

// dialFailed reports whether no connection came about, so that nothing was sent.
func dialFailed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// follow keeps the map until the client is closed: it fetches it, then waits
// for a word of change from an event stream, for Refresh, or for the poll.
func (c *Client) follow(seeds []string) {
	etag, wait := "", tryMin
	events := make(chan struct{}, 1)
	lost := make(chan struct{}, 1)
	var streams sync.WaitGroup
	defer streams.Wait()
	streaming := false
	for c.ctx.Err() == nil {
		addr, tag, err := c.fetchAny(seeds, etag)
		if err != nil {
			c.o.logger.Debug("no node answers with a map", "error", err)
			c.rest(wait/2 + rand.N(wait))
			wait = min(2*wait, tryMax)
			continue
		}
		etag, wait = tag, tryMin
		if !streaming && !c.o.noStreams {
			streaming = true
			streams.Go(func() { c.stream(addr, events, lost) })
		}
		poll := time.NewTimer(c.o.poll + rand.N(c.o.poll/5+1))
		select {
		case <-events:
		case <-c.refresh:
		case <-lost:
			streaming = false
		case <-poll.C:
		case <-c.ctx.Done():
		}
		poll.Stop()
		c.rest(fetchPause)
	}
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

// fetchAny fetches the map from the first node that answers, the known ones
// in random order first, then the seeds. It returns the node and the new ETag.
func (c *Client) fetchAny(seeds []string, etag string) (addr, tag string, err error) {
	addrs := slices.Clone(seeds)
	if m := c.current.Load(); m != nil {
		known := make([]string, 0, len(m.Nodes))
		for _, n := range m.Nodes {
			if n.Active {
				known = append(known, n.HTTP)
			}
		}
		rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
		addrs = append(known, addrs...)
	}
	var errs []error
	for _, addr := range addrs {
		if c.ctx.Err() != nil {
			return "", "", ErrClosed
		}
		tag, err := c.fetch(addr, etag)
		if err == nil {
			return addr, tag, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	return "", "", errors.Join(errs...)
}

func (c *Client) url(addr, path string) string {
	if c.o.tls != nil {
		return "https://" + addr + path
	}
	return "http://" + addr + path
}

// fetch asks one node for the map. An unchanged one costs a 304.
func (c *Client) fetch(addr, etag string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, fetchWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(addr, "/cluster"), nil)
	if err != nil {
		return "", err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return etag, nil
	case http.StatusOK:
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
	if old := c.current.Load(); old != nil && old.ClusterID != m.ClusterID {
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

// stream follows a node's events until they end, and then says so. Each word
// of change wakes the follower; what has changed it learns from the map.
func (c *Client) stream(addr string, events, lost chan<- struct{}) {
	defer wake(lost)
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	version := uint64(0)
	if m := c.current.Load(); m != nil {
		version = m.Version
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s?from=%d", c.url(addr, "/events"), version), nil)
	if err != nil {
		return
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return
	}
	// Data lines may be as long as a map: only their beginning matters here.
	r := bufio.NewReaderSize(resp.Body, 4<<10)
	for {
		line, partial, err := r.ReadLine()
		if err != nil {
			return
		}
		quiet.Reset(silence)
		change := bytes.HasPrefix(line, []byte("data:"))
		for partial && err == nil {
			_, partial, err = r.ReadLine()
		}
		if change {
			wake(events)
		}
	}
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
