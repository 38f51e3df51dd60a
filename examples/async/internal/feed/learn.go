package feed

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// learnWithin is how long one call of the hook looks for a primary that
	// lets it learn. ClusterKit calls again.
	learnWithin = 5 * time.Second
	// dropWithin bounds what is waited for the primary before data goes.
	dropWithin = time.Second
	// catchUpWithin is how long the stream may take to bring a learner up to
	// date before the primary is asked again whether it can.
	catchUpWithin = 2 * time.Second
)

// Transition is the hook for ClusterKit.OnTransition: it takes a role over, or
// lets it go.
func (n *Node) Transition(ctx context.Context, t clusterkit.Transition) error {
	if !n.hold() {
		return errClosed
	}
	defer n.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	p, err := n.part(t.Partition)
	if err != nil {
		return err
	}
	switch t.After {
	case clusterkit.RoleLearner:
		return n.learn(ctx, p, t.Epoch, t.Session)
	case clusterkit.RolePrimary:
		// Requests open the epoch as well. The hook is not to wait for other
		// nodes: they may wait for their hooks.
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = n.serving(p) // whoever is superseded already has nothing to open
	case clusterkit.RoleRevoked:
		return n.drain(ctx, p)
	case clusterkit.RoleNone:
		return n.drop(ctx, p)
	case clusterkit.RoleReplica, clusterkit.RoleLeaving:
		// The data is here, and stays.
	}
	return nil
}

// drop removes a partition that this node is to hold no more. What only this
// node has is counted first, if the primary answers: it is lost with it.
func (n *Node) drop(ctx context.Context, p *partition) error {
	p.mu.Lock()
	end := p.end
	p.mu.Unlock()
	if primary := n.c.Cluster.Snapshot().Partitions[p.index].Primary; end != (store.Version{}) && primary != "" && primary != n.me() {
		ctx, cancel := context.WithTimeout(ctx, dropWithin)
		if a, err := n.join(ctx, p, primary); err == nil {
			err = n.countLost(p, primary, a)
			if err != nil {
				n.c.Logger.Warn("what is dropped was not compared", "partition", topology.Name(p.index), "error", err)
			}
		}
		cancel()
	}
	p.mu.Lock()
	p.demote()
	p.copying = true
	p.mu.Unlock()
	if err := n.clear(p); err != nil {
		return err
	}
	if err := n.c.Store.Drop(p.index); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copying = false
	return nil
}

// clear forgets the journal of a partition that is being copied or dropped.
func (n *Node) clear(p *partition) error {
	if err := n.c.Store.Forget(p.index); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history, p.base, p.end = nil, 0, store.Version{}
	p.fresh, p.consent, p.needless = 0, 0, 0
	return nil
}

// learn returns nil when the primary counts this node among those that its
// writes wait for, which it does when this node has nearly everything. If the
// primary's journal goes on from this node's, the stream brings the rest;
// otherwise what is here is replaced by a copy first.
func (n *Node) learn(ctx context.Context, p *partition, epoch, session uint64) error {
	p.mu.Lock()
	p.raise(epoch)
	if p.consent == session {
		p.mu.Unlock()
		return nil // it has said so already, and must not change its mind
	}
	p.copying = false
	p.mu.Unlock()
	start, cancel := context.WithTimeout(ctx, learnWithin)
	defer cancel()
	for {
		changed := n.changed()
		err := n.attempt(ctx, p, session)
		if err == nil {
			return nil
		}
		if n.pause(start, changed) != nil {
			return fmt.Errorf("learn %s: %w", topology.Name(p.index), err)
		}
	}
}

// attempt joins the primary of now, and follows.
func (n *Node) attempt(ctx context.Context, p *partition, session uint64) error {
	now := n.c.Cluster.Snapshot()
	primary := now.Partitions[p.index].Primary
	switch {
	case primary == "":
		return errors.New("no in-sync replica is alive to learn from")
	case primary == n.me():
		return errors.New("this node is the primary")
	}
	a, err := n.join(ctx, p, primary)
	if err != nil {
		return err
	}
	if !a.resume {
		if err := n.replace(ctx, p, primary, a); err != nil {
			return err
		}
	}
	return n.catchUp(ctx, p, session)
}

// join asks a primary whether its journal goes on from this node's.
func (n *Node) join(ctx context.Context, p *partition, primary string) (joinAnswer, error) {
	p.mu.Lock()
	m := askMessage{partition: p.index, epoch: p.epoch, end: p.end, history: p.history}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, learnWithin)
	defer cancel()
	answer, err := n.ask(ctx, primary, kindJoin, m.append(nil))
	if err != nil {
		return joinAnswer{}, err
	}
	if answer.Kind != proto.OK {
		return joinAnswer{}, fmt.Errorf("node %s does not lead yet", primary)
	}
	return decodeJoinAnswer(answer.Body)
}

// catchUp waits until the primary counts this node, as long as the stream
// brings something.
func (n *Node) catchUp(ctx context.Context, p *partition, session uint64) error {
	var before, now store.Version
	for {
		wait, cancel := context.WithTimeout(ctx, catchUpWithin)
		err := n.await(wait, p, func() bool { now = p.end; return p.consent == session })
		cancel()
		if err == nil || now == before {
			return err
		}
		before = now
	}
}

// replace makes this node's records of a partition those of its primary. The
// writes that only this node has are counted first: they are lost.
func (n *Node) replace(ctx context.Context, p *partition, primary string, a joinAnswer) error {
	if err := n.countLost(p, primary, a); err != nil {
		return err
	}
	p.mu.Lock()
	p.demote()
	p.copying = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.copying = false
		p.mu.Unlock()
	}()
	// From here until the copy is whole, what is on disk counts for nothing.
	if err := n.clear(p); err != nil {
		return err
	}
	ctx, stalled := context.WithCancel(ctx)
	defer stalled()
	resp, err := n.request(ctx, p, primary)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := n.receive(p, resp, stalled); err != nil {
		return fmt.Errorf("copy %s: %w", topology.Name(p.index), err)
	}
	n.counts.copies.Add(1)
	return nil
}

// countLost counts the operations above the last that this node and its
// primary have in common.
func (n *Node) countLost(p *partition, primary string, a joinAnswer) error {
	p.mu.Lock()
	end := p.end.Sequence
	after := p.base
	if a.known {
		after = max(after, a.common)
	}
	epoch := p.epoch
	p.mu.Unlock()
	lost := uint64(0)
	for after < end {
		groups, err := n.c.Store.Groups(p.index, after, messageBytes)
		if err != nil {
			return err
		}
		if len(groups) == 0 {
			break
		}
		for i := range groups {
			if len(groups[i].Ops) > 0 {
				lost += groups[i].Last - max(after, groups[i].First-1)
			}
		}
		after = groups[len(groups)-1].Last
	}
	if lost > 0 {
		n.counts.lost.Add(lost)
		n.note(Event{Kind: EventLost, Partition: topology.Name(p.index), Epoch: epoch, Node: primary, Writes: lost, Bound: n.c.MaxLag})
	}
	return nil
}

// request asks the primary for a copy.
func (n *Node) request(ctx context.Context, p *partition, primary string) (*http.Response, error) {
	source := n.c.Cluster.Snapshot().Node(primary)
	if source == nil || source.Service(n.c.Service) == "" {
		return nil, fmt.Errorf("node %s has registered no service %s", primary, n.c.Service)
	}
	target := url.URL{
		Scheme: "http", Host: source.Service(n.c.Service), Path: copyPath,
		RawQuery: url.Values{"partition": {strconv.Itoa(p.index)}, "node": {n.me()}}.Encode(),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := n.copies.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // only for the message
		_ = resp.Body.Close()
		return nil, fmt.Errorf("node %s answers %s: %s", source.ID, resp.Status, text)
	}
	return resp, nil
}

// copied is how far a copy has come.
type copied struct {
	after string // the last key installed
	count uint64
}

// receive installs a copy, frame by frame, and has the journal go on from it. It
// calls stalled, which is to end the request, when nothing comes any more.
func (n *Node) receive(p *partition, resp *http.Response, stalled func()) error {
	mark, err := store.ParseVersion(resp.Header.Get(markHeader))
	b, err2 := base64.StdEncoding.DecodeString(resp.Header.Get(historyHeader))
	h, err3 := decodeHistory(b)
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	var c copied
	r := bufio.NewReaderSize(wire.Unstalled(resp.Body, stalled), 64<<10)
	for last := false; !last; {
		m, err := wire.Read(r)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the end was not sent
		}
		if err == nil {
			last, err = n.install(p, &c, m)
		}
		if err != nil {
			return err
		}
	}
	if err := n.c.Store.Restart(p.index, mark, h.append(nil)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history, p.base, p.end, p.needless = h, mark.Sequence, mark, 0
	return nil
}

// everything is a mark that nothing stored is above.
var everything = store.Version{Epoch: math.MaxUint64, Sequence: math.MaxUint64, Writer: math.MaxUint64}

// install installs one frame of a copy and reports whether it was the last.
func (n *Node) install(p *partition, c *copied, m wire.Message) (last bool, err error) {
	where := store.Range{Partition: p.index, After: c.after}
	var records []store.Record
	switch m.Kind {
	case copyRecords:
		if records, err = decodeRecords(p.index, c.after, m.Body); err != nil {
			return false, err
		}
		c.after = records[len(records)-1].Key
		c.count += uint64(len(records))
		where.To = c.after
	case copyEnd:
		f := fields{b: m.Body}
		if count := f.uvarint(); f.bad || count != c.count {
			return false, fmt.Errorf("%d records arrived, %d were sent", c.count, count)
		}
		where.Last = true
	default:
		return false, errMalformed
	}
	return where.Last, n.c.Store.Install(where, records, everything)
}

// decodeRecords reads one or more records that belong to the partition and go
// on after a key.
func decodeRecords(partition int, after string, b []byte) (records []store.Record, err error) {
	for len(b) > 0 {
		var r store.Record
		if r, b, err = store.DecodeRecord(b); err != nil {
			return nil, err
		}
		if r.Partition != partition || r.Key <= after {
			return nil, errMalformed
		}
		after = r.Key
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil, errMalformed
	}
	return records, nil
}
