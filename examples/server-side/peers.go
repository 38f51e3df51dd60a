package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/frame"
)

// What a replica says of each item.
const (
	statusStored byte = iota
	statusStale
	statusFailed
)

const (
	// batchItems bounds what travels in one request.
	batchItems = 512
	// batchWithin bounds one request; a peer that hangs is found out by the
	// cluster, not here.
	batchWithin = 2 * time.Second
)

// peers sends items to other nodes. Items for one node that come while a
// request is under way travel together in the next one: under load a request,
// and an fsync on the other side, carries many writes.
type peers struct {
	http *http.Client

	mu      sync.Mutex
	senders map[string]*sender
}

type sender struct {
	addr    string
	waiting []*parcel
	running bool
}

type parcel struct {
	item frame.Item
	done chan error
}

func newPeers() *peers {
	return &peers{
		senders: make(map[string]*sender),
		http:    &http.Client{Timeout: batchWithin, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}},
	}
}

// send returns nil when the node at addr has stored the item, errNotPrimary
// when it refuses the item's epoch, and another error when it is not known.
func (p *peers) send(ctx context.Context, addr string, it frame.Item) error {
	if addr == "" {
		return errors.New("the node has registered no kv address")
	}
	pa := &parcel{item: it, done: make(chan error, 1)}
	p.mu.Lock()
	s, ok := p.senders[addr]
	if !ok {
		s = &sender{addr: addr}
		p.senders[addr] = s
	}
	s.waiting = append(s.waiting, pa)
	if !s.running {
		s.running = true
		go p.drain(s)
	}
	p.mu.Unlock()
	select {
	case err := <-pa.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain sends until nothing waits.
func (p *peers) drain(s *sender) {
	for {
		p.mu.Lock()
		batch := s.waiting
		if len(batch) > batchItems {
			batch = batch[:batchItems]
		}
		s.waiting = s.waiting[len(batch):]
		if len(batch) == 0 {
			s.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		status, err := p.post(s.addr, batch)
		for i, pa := range batch {
			switch {
			case err != nil:
				pa.done <- err
			case status[i] == statusStored:
				pa.done <- nil
			case status[i] == statusStale:
				pa.done <- errNotPrimary
			default:
				pa.done <- errors.New("the replica could not store the record")
			}
		}
	}
}

func (p *peers) post(addr string, batch []*parcel) ([]byte, error) {
	items := make([]frame.Item, len(batch))
	for i, pa := range batch {
		items[i] = pa.item
	}
	var body bytes.Buffer
	if err := frame.Write(&body, items); err != nil {
		return nil, err
	}
	resp, err := p.http.Post("http://"+addr+"/kv/internal/replicate", "application/octet-stream", &body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	status, err := io.ReadAll(io.LimitReader(resp.Body, batchItems+1))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || len(status) != len(batch) {
		return nil, fmt.Errorf("%s: %s", addr, resp.Status)
	}
	return status, nil
}
