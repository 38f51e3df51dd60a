package replication

import (
	"context"
	"errors"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// within bounds a request, all failovers and tries included.
const within = 5 * time.Second

// Op is what a request asks for.
type Op byte

// The operations.
const (
	Get Op = iota + 1
	Set
	Delete
)

// Request is what a client wants. Keys and values may hold any bytes.
type Request struct {
	Op    Op
	Key   string
	Value []byte
	// epoch is the only one under which the request may be carried out, when
	// a node forwards it; 0 for any. One that was not answered may lie in the
	// buffers of a network, or of a process that hangs, for as long as these do.
	// It must do nothing when it gets through at last: its client may have
	// been answered through another node, and may have written anew.
	epoch uint64
	// stamp is a write's; low and first are what sender.lowest and ledger.find
	// are about.
	stamp      stamp
	low, first uint64
}

// Answer is what becomes of a request that was carried out.
type Answer struct {
	// Node is the primary that answered, for a partition.
	Node, Partition string
	// Found and Value belong to Get.
	Found bool
	Value []byte
}

// errAbsent: there is no such key.
var errAbsent = errors.New("replication: no such key")

// place is where a request is to be answered.
type place byte

const (
	nowhere place = iota // there is no primary now: wait for the next topology
	here
	there
)

// locate says where a request for the partition is answered by this topology.
func locate(t *clusterkit.Topology, p *clusterkit.Partition, me string, isPrimary bool) place {
	switch id := p.Serving(); {
	case isPrimary:
		return here
	case id == "" || id == me || !t.Active(id):
		return nowhere
	}
	return there
}

// Do has a request answered by the primary of its key, wherever that is. It
// tries again while the primary is being replaced, so that a client sees a
// failover as a pause; a write is carried out once, however often it is sent.
// After 5 seconds, or when ctx ends, it returns ErrUnknown for a write that may
// be stored, and ErrUnavailable if nothing was done; ErrUnknown at once if
// nobody can tell any more.
func (n *Node) Do(ctx context.Context, req Request) (Answer, error) {
	if !n.hold() {
		return Answer{}, ErrUnavailable
	}
	defer n.tasks.Done()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if req.Op != Get {
		req.stamp = n.sender.begin()
		defer n.sender.end(req.stamp)
	}
	lost := uint64(0) // the highest epoch under which a write was sent and not answered
	for {
		changed := n.changed()
		var a Answer
		p, err := n.c.Cluster.GetPartition(req.Key)
		if err == nil {
			t := n.c.Cluster.Snapshot()
			now := t.Partitions[p.Index]
			a.Partition = p.ID
			req.epoch, req.low = now.Epoch, n.sender.lowest()
			answered := true
			switch at := locate(t, now, n.me(), n.c.Cluster.IsPrimary(p)); {
			case at == nowhere || req.Op != Get && req.epoch <= lost:
				err = errNotPrimary
			case at == here:
				a.Node = n.me()
				a.Value, err = n.here(ctx, &req)
			default:
				a.Node = now.Primary
				if a.Value, answered, err = n.there(ctx, p.Index, a.Node, req.append(nil)); !answered {
					lost = req.epoch
				}
			}
			if req.first == 0 && (!answered || errors.Is(err, ErrUnknown)) {
				req.first = req.epoch
			}
		} else {
			err = errNotPrimary // not a member yet
		}
		switch {
		case err == nil:
			a.Found = req.Op == Get
			return a, nil
		case errors.Is(err, errAbsent):
			return a, nil
		case errors.Is(err, ErrBusy):
			return Answer{}, ErrBusy
		case errors.Is(err, errForgotten):
			return Answer{}, ErrUnknown
		case !errors.Is(err, errNotPrimary) && !errors.Is(err, wire.ErrBroken) && !errors.Is(err, ErrUnknown):
			return Answer{}, err
		}
		if n.pause(ctx, changed) != nil {
			if req.first != 0 && req.Op != Get {
				return Answer{}, ErrUnknown
			}
			return Answer{}, ErrUnavailable
		}
	}
}

// here answers a request as primary.
func (n *Node) here(ctx context.Context, req *Request) (value []byte, err error) {
	p, err := n.c.Cluster.GetPartition(req.Key)
	if err != nil {
		return nil, errNotPrimary
	}
	if req.Op == Get {
		return n.read(ctx, p.Index, req.Key)
	}
	return nil, n.write(ctx, p.Index, req)
}

// there asks another node, and gives up when that is not the primary any more.
// It reports whether there was an answer: without one the request may be
// carried out at any time, as long as its epoch lasts.
func (n *Node) there(ctx context.Context, i int, id string, body []byte) (value []byte, answered bool, err error) {
	call := n.start(id, kindAsk, body)
	for {
		changed := n.changed()
		if t := n.c.Cluster.Snapshot(); t.Partitions[i].Serving() != id || !t.Active(id) {
			return nil, false, errNotPrimary
		}
		select {
		case <-call.Done():
			switch {
			case errors.Is(call.Err, wire.ErrBusy):
				return nil, true, ErrBusy
			case call.Err != nil:
				return nil, false, call.Err
			}
			value, err = decodeOutcome(call.Answer.Kind, call.Answer.Body)
			return value, true, err
		case <-changed:
		case <-ctx.Done():
			return nil, false, ErrUnknown
		}
	}
}

// encodeOutcome is how a request that was answered here travels back.
func encodeOutcome(value []byte, err error) (kind byte, body []byte) {
	switch {
	case err == nil:
		return answerOK, value
	case errors.Is(err, errAbsent):
		return answerAbsent, nil
	case errors.Is(err, ErrUnknown):
		return answerUnknown, nil
	case errors.Is(err, errNotPrimary):
		return answerNotPrimary, nil
	case errors.Is(err, ErrBusy):
		return answerBusy, nil
	case errors.Is(err, errForgotten):
		return answerForgotten, nil
	}
	return answerFailed, []byte(err.Error())
}

func decodeOutcome(kind byte, body []byte) ([]byte, error) {
	switch kind {
	case answerOK:
		return body, nil
	case answerAbsent:
		return nil, errAbsent
	case answerNotPrimary:
		return nil, errNotPrimary
	case answerBusy:
		return nil, ErrBusy
	case answerUnknown:
		return nil, ErrUnknown
	case answerForgotten:
		return nil, errForgotten
	}
	return nil, errors.New(string(body))
}
