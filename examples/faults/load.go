package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/linear"
)

const (
	// roamers go to another node when one fails them; beside them, one client
	// stays with each node whatever happens to it.
	roamers = 5
	// keysEach is how many keys a client writes.
	keysEach = 6
	// opWithin is more than a node itself takes to give up.
	opWithin = 7 * time.Second
	// readAllWithin bounds the reading of everything at the end.
	readAllWithin = 20 * time.Second
	// queuedWithin is how long a write may wait for a process that hangs.
	queuedWithin = 20 * time.Second
	// restEvery is how long a client rests between operations.
	restEvery = 8 * time.Millisecond
)

// load is clients at work. Every key has one writer and many readers, and is
// given up after a write of unknown outcome: nodes try a write again by
// themselves, and what server-side does not promise (a write that was tried
// again stays where other writes have put it) then cannot be met.
type load struct {
	history  *linear.History
	nodes    *targets
	prefix   string
	client   *http.Client
	patient  *http.Client // for what waits in the sockets of a process that hangs
	cancel   context.CancelFunc
	workers  sync.WaitGroup
	optimist bool // takes failures for success: a mutant

	mu   sync.Mutex
	keys []string // of all clients
	acks []ack
	errs []failure
}

// failure is an operation that was not answered with success.
type failure struct {
	sent    time.Time
	through string
	err     error
}

// ack is an operation that was answered.
type ack struct {
	sent, done time.Time
	through    string // the node that was asked
	write      bool
}

func startLoad(ctx context.Context, nodes *targets, prefix string, seed uint64, optimist bool) *load {
	ctx, cancel := context.WithCancel(ctx)
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 64, TLSClientConfig: nodes.tls}
	l := &load{
		history: linear.NewHistory(), nodes: nodes, prefix: prefix, cancel: cancel, optimist: optimist,
		client:  &http.Client{Timeout: opWithin, Transport: transport},
		patient: &http.Client{Timeout: queuedWithin, Transport: transport},
	}
	stay := len(nodes.all())
	l.keys = make([]string, (stay+roamers)*keysEach)
	for i := range l.keys {
		l.keys[i] = fmt.Sprintf("%s-%d-0", prefix, i)
	}
	for w := range stay + roamers {
		rng := rand.New(rand.NewPCG(seed, uint64(w))) //#nosec G404 -- a seed repeats the run
		l.workers.Go(func() { l.work(ctx, w, w < stay, rng) })
	}
	return l
}

// end stops the clients and waits for their last operations.
func (l *load) end() {
	l.cancel()
	l.workers.Wait()
	l.client.CloseIdleConnections()
}

func (l *load) work(ctx context.Context, worker int, stay bool, rng *rand.Rand) {
	at := worker
	for n := 0; pause(ctx, restEvery+time.Duration(rng.Int64N(int64(restEvery)))); n++ {
		all := l.nodes.all()
		node := all[at%len(all)]
		if node.pid() == 0 {
			if !stay {
				at = rng.IntN(len(all))
			}
			continue
		}
		var err error
		if rng.IntN(10) < 6 {
			err = l.write(node, worker, worker*keysEach+rng.IntN(keysEach), n)
		} else {
			err = l.read(node, worker, l.key(rng.IntN(len(l.keys))))
		}
		if err != nil && !stay {
			at = rng.IntN(len(all))
		}
	}
}

func (l *load) key(i int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[i]
}

func (l *load) write(node target, worker, i, n int) error {
	key := l.key(i)
	err := l.put(node, worker, key, fmt.Sprintf("%d-%d", worker, n))
	if err != nil && !l.optimist && !errors.Is(err, linear.ErrNotDone) {
		l.mu.Lock()
		l.keys[i] = fmt.Sprintf("%s-%d-%d", l.prefix, i, n)
		l.mu.Unlock()
	}
	return err
}

// put writes a key, for the history.
func (l *load) put(node target, worker int, key, value string) (err error) {
	sent := time.Now()
	l.history.Set(worker, key, value, func() error {
		err = l.set(node, key, value)
		if l.optimist {
			return nil
		}
		return err
	})
	l.note(node, sent, true, err)
	return err
}

// read reads a key, for the history.
func (l *load) read(node target, worker int, key string) (err error) {
	sent := time.Now()
	l.history.Get(worker, key, func() (value string, found bool, e error) {
		value, found, err = l.get(node, key)
		return value, found, err
	})
	l.note(node, sent, false, err)
	return err
}

func (l *load) note(node target, sent time.Time, write bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, failure{sent, node.id, err})
		return
	}
	l.acks = append(l.acks, ack{sent: sent, done: time.Now(), through: node.id, write: write})
}

// readAll reads every key that is still written, for the history's end.
func (l *load) readAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readAllWithin)
	defer cancel()
	for i := range l.keys {
		all := l.nodes.all()
		for try := 0; ; try++ {
			node := all[(i+try)%len(all)]
			err := errors.New("no node runs")
			if node.pid() != 0 {
				err = l.read(node, i%roamers, l.key(i))
			}
			if err == nil {
				break
			}
			if try > 4*len(all) || ctx.Err() != nil {
				return fmt.Errorf("read %s at the end: %w", l.key(i), err)
			}
		}
	}
	return nil
}

func (l *load) set(node target, key, value string) error {
	_, err := l.setBy(l.client, node, key, value)
	return err
}

// setBy writes, and returns the node that took the write as primary.
func (l *load) setBy(client *http.Client, node target, key, value string) (primary string, err error) {
	b, err := json.Marshal(map[string]string{"key": key, "value": value})
	if err != nil {
		return "", err
	}
	var w struct{ Node string }
	_, err = l.do(client, http.MethodPost, node.kv+"/kv/set", b, &w)
	return w.Node, err
}

func (l *load) get(node target, key string) (string, bool, error) {
	var pair struct{ Value string }
	status, err := l.do(l.client, http.MethodGet, node.kv+"/kv/get?key="+url.QueryEscape(key), nil, &pair)
	if status == http.StatusNotFound {
		return "", false, nil
	}
	return pair.Value, err == nil, err
}

// do returns linear.ErrNotDone when the node, or its kernel, says so.
func (l *load) do(client *http.Client, method, url string, body []byte, into any) (int, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, errors.Join(linear.ErrNotDone, err)
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode == http.StatusOK:
		return resp.StatusCode, json.Unmarshal(b, into)
	}
	var problem struct{ Error struct{ Code string } }
	err = fmt.Errorf("%s %s: %s: %.200s", method, url, resp.Status, b)
	if json.Unmarshal(b, &problem) == nil && slices.Contains([]string{"unavailable", "busy"}, problem.Error.Code) {
		err = errors.Join(linear.ErrNotDone, err)
	}
	return resp.StatusCode, err
}

// answered counts the operations that began and ended in a period, through any
// of the nodes, or through all if none are given.
func (l *load) answered(from, to time.Time, through ...string) (n int) {
	l.each(from, to, through, func(ack) { n++ })
	return n
}

// slowest returns how long the slowest write took of those that began in the
// period and were answered through one of the nodes.
func (l *load) slowest(from, to time.Time, through ...string) (d time.Duration) {
	l.each(from, to, through, func(a ack) {
		if a.write {
			d = max(d, a.done.Sub(a.sent))
		}
	})
	return d
}

// writes counts the writes that began in a period and were answered.
func (l *load) writes(from, to time.Time, through ...string) (n int) {
	l.each(from, to, through, func(a ack) {
		if a.write {
			n++
		}
	})
	return n
}

func (l *load) each(from, to time.Time, through []string, f func(ack)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.acks {
		if a.sent.Before(from) || a.sent.After(to) || len(through) > 0 && !slices.Contains(through, a.through) {
			continue
		}
		f(a)
	}
}

// failed returns the first failure, through any of the nodes, of an operation
// that began in the period.
func (l *load) failed(from, to time.Time, through ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.errs {
		if !f.sent.Before(from) && !f.sent.After(to) && slices.Contains(through, f.through) {
			return fmt.Errorf("through %s, %v after the beginning: %w", f.through, f.sent.Sub(from).Round(time.Millisecond), f.err)
		}
	}
	return nil
}

// firstWrite returns when the first write that began after a moment was answered.
func (l *load) firstWrite(after time.Time) (time.Time, bool) {
	var first time.Time
	l.each(after, time.Now(), nil, func(a ack) {
		if a.write && (first.IsZero() || a.done.Before(first)) {
			first = a.done
		}
	})
	return first, !first.IsZero()
}

var probes atomic.Int64

// fresh returns a key that no client writes.
func (l *load) fresh() string { return l.prefix + "-probe-" + strconv.FormatInt(probes.Add(1), 10) }
