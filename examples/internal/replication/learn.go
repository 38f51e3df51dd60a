package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// learnWithin is how long one call of the hook tries to begin a copy while
// there is no primary that serves it. ClusterKit calls again.
const learnWithin = 5 * time.Second

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
	switch t.After {
	case clusterkit.RoleLearner:
		return n.learn(ctx, t)
	case clusterkit.RolePrimary:
		// Requests open the epoch as well. The hook is not to wait for other
		// nodes: they may wait for their hooks.
		p := n.part(t.Partition)
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _, err := n.serving(p)
		if errors.Is(err, errNotPrimary) {
			return nil // superseded already
		}
		return err
	case clusterkit.RoleRevoked:
		return n.drain(ctx, t.Partition)
	case clusterkit.RoleNone:
		return n.drop(t.Partition)
	case clusterkit.RoleReplica, clusterkit.RoleLeaving:
		// The data is here, and stays.
	}
	return nil
}

// drop removes a partition that this node is to hold no more.
func (n *Node) drop(i int) error {
	p := n.part(i)
	p.mu.Lock()
	p.fence.forget()
	p.ledger = ledger{}
	p.mu.Unlock()
	return n.c.Store.Drop(i)
}

// learn makes this node's records of a partition those of its primary. What
// is written meanwhile arrives by itself, and is newer than the copy's mark.
func (n *Node) learn(ctx context.Context, t clusterkit.Transition) error {
	if err := n.bind(); err != nil {
		return err
	}
	p := n.part(t.Partition)
	p.mu.Lock()
	// From here on nothing of an earlier epoch is accepted. What was known of
	// unsettled records is void: those that matter come with the copy, or
	// arrive after this.
	p.fence.raise(t.Epoch)
	p.fence.forget()
	p.ledger = ledger{}
	p.mu.Unlock()
	start, cancel := context.WithTimeout(ctx, learnWithin)
	defer cancel()
	ctx, stalled := context.WithCancel(ctx)
	defer stalled()
	for {
		changed := n.changed()
		resp, err := n.request(ctx, t)
		if err == nil {
			defer func() { _ = resp.Body.Close() }()
			if err := n.receive(p, resp, stalled); err != nil {
				return fmt.Errorf("copy %s: %w", t.PartitionID, err)
			}
			return nil
		}
		if n.pause(start, changed) != nil {
			return fmt.Errorf("copy %s: %w", t.PartitionID, err)
		}
	}
}

// request asks the primary of now for a copy.
func (n *Node) request(ctx context.Context, t clusterkit.Transition) (*http.Response, error) {
	now := n.c.Cluster.Snapshot()
	source := now.Node(now.Partitions[t.Partition].Primary)
	switch {
	case source == nil:
		return nil, errors.New("no in-sync replica is alive to copy from")
	case source.ID == n.me():
		return nil, errors.New("this node is the primary")
	case source.Service(n.c.Service) == "":
		return nil, fmt.Errorf("node %s has registered no service %s", source.ID, n.c.Service)
	}
	target := url.URL{Scheme: "http", Host: source.Service(n.c.Service), Path: copyPath, RawQuery: url.Values{
		"partition": {strconv.Itoa(t.Partition)}, "version": {strconv.FormatUint(t.Version, 10)},
	}.Encode()}
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

// copyState is how far a copy has come.
type copyState struct {
	epoch         uint64
	mark, settled store.Version
	after         string // the last key installed
	count         uint64
}

// receive installs a copy, frame by frame. It calls stalled, which is to end the
// request, when nothing comes any more.
func (n *Node) receive(p *partition, resp *http.Response, stalled func()) error {
	epoch, err1 := strconv.ParseUint(resp.Header.Get(epochHeader), 10, 64)
	mark, err2 := store.ParseVersion(resp.Header.Get(markHeader))
	settled, err3 := store.ParseVersion(resp.Header.Get(settledHeader))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	c := copyState{epoch: epoch, mark: mark, settled: settled}
	p.mu.Lock()
	p.fence.settle(settled)
	p.mu.Unlock()
	r := bufio.NewReaderSize(wire.Unstalled(resp.Body, stalled), 64<<10)
	for {
		m, err := wire.Read(r)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the end was not sent
		}
		if err != nil {
			return err
		}
		last, err := n.install(p, &c, m)
		if err != nil {
			return err
		}
		if last {
			return n.c.Store.Sync()
		}
	}
}

// install installs one frame of a copy and reports whether it was the last.
func (n *Node) install(p *partition, c *copyState, m wire.Message) (last bool, err error) {
	where := store.Range{Partition: p.index, After: c.after}
	var records []store.Record
	switch m.Kind {
	case copyRecords:
		if records, err = decodeRecords(m.Body); err != nil {
			return false, err
		}
		if err := inOrder(p.index, c.after, records); err != nil {
			return false, err
		}
		c.after = records[len(records)-1].Key
		c.count += uint64(len(records))
		where.To = c.after
	case copyLedger:
		p.mu.Lock()
		defer p.mu.Unlock()
		return false, p.ledger.merge(m.Body)
	case copyEnd:
		f := fields{b: m.Body}
		if count := f.uvarint(); f.bad || count != c.count {
			return false, fmt.Errorf("%d records arrived, %d were sent", c.count, count)
		}
		where.Last = true
	default:
		return false, errMalformed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fence.raise(c.epoch) {
		return false, errors.New("the primary was replaced while it was copied from")
	}
	for i := range records {
		p.fence.keep(records[i].Key, records[i].Version)
	}
	return where.Last, n.c.Store.Install(where, records, c.mark)
}

// inOrder checks that records belong to the partition and go on after a key.
func inOrder(partition int, after string, records []store.Record) error {
	if len(records) == 0 {
		return errMalformed
	}
	for i := range records {
		if records[i].Partition != partition || records[i].Key <= after {
			return errMalformed
		}
		after = records[i].Key
	}
	return nil
}
