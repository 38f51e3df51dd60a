package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/topology"
)

// registerAgain is the pause before a registration that failed is tried again.
const registerAgain = 200 * time.Millisecond

// registered reports whether the topology holds this node's record as it is
// now: active, at this incarnation.
func (r *running) registered(t *topology.Topology) bool {
	n := t.Node(r.record.ID)
	return n != nil && n.State == topology.NodeActive && n.UUID == r.record.UUID && n.Incarnation == r.record.Incarnation &&
		n.IP == r.record.IP && n.RaftAddr == r.record.RaftAddr && n.GossipAddr == r.record.GossipAddr &&
		n.Name == r.record.Name && n.Zone == r.record.Zone && n.Weight == r.record.Weight && maps.Equal(n.Services, r.record.Services)
}

// register keeps this node's record in the topology. It is level-triggered:
// whenever the committed record is not this node's own, active one, the node
// asks the leader to commit it. So a node comes back by itself after it was
// given up wrongly. A refusal is final and ends the node; so does leaving, when
// an operator wants the node gone.
func (r *running) register(ctx context.Context) error {
	changed, cancel := r.kit.published.subscribe()
	defer cancel()
	last, going := "", false
	members := seeker{r: r}
	for {
		t := r.kit.Snapshot()
		if going && t.Node(r.record.ID) == nil {
			return ErrLeft // somebody else has removed the record
		}
		if going = r.leaving(t); going {
			if r.left(ctx) {
				return ErrLeft
			}
			if !sleep(ctx, registerAgain) {
				return nil
			}
			continue
		}
		if !r.registered(t) {
			err := r.registerOnce(ctx, &members)
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, peer.ErrRefused):
				return fmt.Errorf("%w: %w", ErrRefused, err)
			case err != nil:
				if err.Error() != last {
					r.logger.Warn("cannot register yet", "error", err)
					last = err.Error()
				}
			default:
				last = ""
			}
			if !sleep(ctx, registerAgain) {
				return nil
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// registerTry bounds one registration, so that one which got lost is sent again.
const registerTry = 2 * time.Second

// registerOnce registers this node, and looks for members as long as it knows none.
func (r *running) registerOnce(ctx context.Context, s *seeker) error {
	ctx, cancel := context.WithTimeout(ctx, registerTry)
	var seeking sync.WaitGroup
	seeking.Go(func() { s.seek(ctx) })
	defer func() {
		cancel()
		seeking.Wait()
	}()
	return r.propose(ctx, topology.RegisterNode{Node: r.record})
}
