package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
			err := r.registerOnce(ctx)
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
				r.findMembers(ctx)
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

// registerTry bounds one registration, so that a node which finds nobody
// looks for members elsewhere.
const registerTry = 2 * time.Second

func (r *running) registerOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registerTry)
	defer cancel()
	return r.propose(ctx, topology.RegisterNode{Node: r.record})
}

// findMembers gives gossip new addresses to try when it knows nobody: a node
// that restarts, perhaps at another address, asks the Raft servers that its log
// names where they gossip, and whom its options name: all addresses in the log
// may be old.
func (r *running) findMembers(ctx context.Context) {
	if r.anyMember() != "" {
		return
	}
	var seeds []string
	for _, s := range r.store.Consensus().Servers {
		if s.UUID == r.record.UUID {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, askTimeout)
		id, err := r.client.Identity(asked, r.addressOf(s))
		cancel()
		if err == nil && id.GossipAddr != "" {
			seeds = append(seeds, id.GossipAddr)
		}
	}
	for _, addr := range r.kit.settings.entrances() {
		var stats struct {
			GossipAddr string `json:"gossip_addr"`
		}
		asked, cancel := context.WithTimeout(ctx, askTimeout)
		// Asked of one that has no map either. Gossip itself refuses other clusters.
		err := r.kit.fetch(asked, addr, "/consensus/stats", &stats)
		cancel()
		if err == nil && stats.GossipAddr != "" {
			seeds = append(seeds, stats.GossipAddr)
		}
	}
	if len(seeds) > 0 {
		r.gossip.AddSeeds(seeds)
	}
}

// entrances are the HTTP addresses of members that the options name.
func (s *settings) entrances() []string {
	var out []string
	if s.JoinAddr != "" {
		out = append(out, s.JoinAddr)
	}
	for _, m := range s.founders {
		if m.id != s.NodeID {
			out = append(out, m.addr)
		}
	}
	return out
}
