package feed

import (
	"context"
	"errors"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// within bounds a request, all failovers and tries included.
const within = 5 * time.Second

// Answer is what becomes of a request that was carried out.
type Answer struct {
	// Node answered, for a partition.
	Node, Partition string
	// Found and Value belong to Get.
	Found bool
	Value []byte
}

// answerRead answers a KindRead: as primary, or as a replica that is fresh enough.
func (n *Node) answerRead(body []byte) (byte, []byte) {
	r, err := proto.DecodeRead(body)
	var p *partition
	if err == nil {
		p, err = n.part(r.Partition)
	}
	if err != nil {
		return proto.Failed, []byte(err.Error())
	}
	p.mu.Lock()
	ok := r.MaxLag > 0 && n.freshEnough(p, r.MaxLag)
	if !ok {
		_, err = n.serving(p)
		ok = err == nil
	}
	p.mu.Unlock()
	if !ok {
		return proto.NotPrimary, []byte(n.c.Cluster.Snapshot().Partitions[p.index].Primary)
	}
	record, found, err := n.c.Store.Get(p.index, r.Key)
	switch {
	case err != nil:
		return proto.Failed, []byte(err.Error())
	case !found:
		return proto.Absent, nil
	}
	return proto.OK, record.Value
}

// freshEnough reports whether this node is an in-sync replica that had all
// that its primary had, not longer ago than lag. The caller holds the lock.
func (n *Node) freshEnough(p *partition, lag time.Duration) bool {
	now := n.c.Cluster.Snapshot().Partitions[p.index]
	r := now.Replica(n.me())
	return r != nil && r.State == clusterkit.ReplicaInSync && now.Primary != n.me() && !n.retired.Load() &&
		!p.copying && p.fresh > 0 && n.clock()-p.fresh <= lag
}

// Set stores a value, wherever the primary is. Errors: ErrUnknown,
// ErrUnavailable, ErrBusy.
func (n *Node) Set(ctx context.Context, key string, value []byte) (Answer, error) {
	return n.route(ctx, key, proto.KindWrite, func(i int) []byte {
		return proto.AppendSection(nil, proto.Section{Partition: i, Ops: ops.AppendSet(nil, key, string(value))})
	})
}

// Delete removes a key. See Set.
func (n *Node) Delete(ctx context.Context, key string) (Answer, error) {
	return n.route(ctx, key, proto.KindWrite, func(i int) []byte {
		return proto.AppendSection(nil, proto.Section{Partition: i, Ops: ops.AppendDelete(nil, key)})
	})
}

// Get reads a key: from this node, if it is a replica that is at most maxLag
// behind, otherwise from the primary. Errors: ErrUnavailable, ErrBusy.
func (n *Node) Get(ctx context.Context, key string, maxLag time.Duration) (Answer, error) {
	if part, err := n.c.Cluster.GetPartition(key); err == nil && maxLag > 0 {
		local := proto.Read{Partition: part.Index, Key: key, MaxLag: maxLag}
		if kind, body := n.answerRead(local.Append(nil)); kind == proto.OK || kind == proto.Absent {
			return Answer{Node: n.me(), Partition: part.ID, Found: kind == proto.OK, Value: body}, nil
		}
	}
	return n.route(ctx, key, proto.KindRead, func(i int) []byte {
		r := proto.Read{Partition: i, Key: key}
		return r.Append(nil)
	})
}

// route has the primary of a key answer, itself included, and asks again while
// it is being replaced: a client sees a failover as a pause.
func (n *Node) route(ctx context.Context, key string, kind byte, body func(partition int) []byte) (Answer, error) {
	if !n.hold() {
		return Answer{}, ErrUnavailable
	}
	defer n.tasks.Done()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	unsure := false
	for {
		changed := n.changed()
		a, err := n.once(ctx, key, kind, body)
		switch {
		case err == nil:
			return a, nil
		case errors.Is(err, wire.ErrBroken) || errors.Is(err, ErrUnknown):
			unsure = kind == proto.KindWrite
		case errors.Is(err, errNotPrimary), errors.Is(err, ErrBusy):
		default:
			return Answer{}, err
		}
		if n.pause(ctx, changed) != nil {
			switch {
			case unsure:
				return Answer{}, ErrUnknown
			case errors.Is(err, ErrBusy):
				return Answer{}, ErrBusy
			}
			return Answer{}, ErrUnavailable
		}
	}
}

// once asks the primary of now.
func (n *Node) once(ctx context.Context, key string, kind byte, body func(partition int) []byte) (Answer, error) {
	part, err := n.c.Cluster.GetPartition(key)
	if err != nil {
		return Answer{}, errNotPrimary // not a member yet
	}
	t := n.c.Cluster.Snapshot()
	a := Answer{Node: t.Partitions[part.Index].Serving(), Partition: part.ID}
	var m wire.Message
	switch {
	case a.Node == n.me():
		m, err = n.local(ctx, kind, body(part.Index))
	case a.Node == "" || !t.Active(a.Node):
		return Answer{}, errNotPrimary
	default:
		attempt, cancel := context.WithTimeout(ctx, within/5)
		m, err = n.ask(attempt, a.Node, kind, body(part.Index))
		cancel()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return a, ErrUnknown
	case errors.Is(err, wire.ErrBusy):
		return a, ErrBusy
	case err != nil:
		return a, err
	}
	return a.with(kind, m)
}

// local carries out a request here.
func (n *Node) local(ctx context.Context, kind byte, body []byte) (wire.Message, error) {
	answered := make(chan wire.Message, 1)
	n.handle([]wire.Message{{Kind: kind, Body: body}}, func(id uint64, kind byte, body []byte) {
		answered <- wire.Message{ID: id, Kind: kind, Body: body}
	})
	select {
	case m := <-answered:
		return m, nil
	case <-ctx.Done():
	}
	select {
	case m := <-answered: // what was answered at once counts, however late it is
		return m, nil
	default:
		return wire.Message{}, ctx.Err()
	}
}

// with returns the answer that a message gives to a request of a kind.
func (a Answer) with(kind byte, m wire.Message) (Answer, error) {
	status, text := m.Kind, string(m.Body)
	if kind == proto.KindWrite && m.Kind == proto.OK {
		results, err := proto.DecodeResults(m.Body, 1)
		if err != nil {
			return a, err
		}
		status, text = results[0].Status, results[0].Text
	}
	switch status {
	case proto.OK:
		if a.Found = kind == proto.KindRead; a.Found {
			a.Value = m.Body
		}
		return a, nil
	case proto.Absent:
		return a, nil
	case proto.NotPrimary:
		return a, errNotPrimary
	case proto.Busy:
		return a, ErrBusy
	case proto.Unknown:
		return a, ErrUnknown
	}
	return a, errors.New(text)
}
