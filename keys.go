package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/gossip"
	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/topology"
)

// Gossip keys are exchanged in three steps, each over the whole cluster before
// the next: install (everybody can read what the new key encrypts), use
// (everybody encrypts with it), remove (nobody can read the old one any more).
// Nothing of it is in the Raft log: keys must not be kept where they cannot be
// forgotten. Each node keeps its own ring, and the steps may be repeated.

const (
	// keysTimeout bounds the wait for all answers.
	keysTimeout = 3 * time.Second
	// keysAtOnce bounds how many nodes are asked at once.
	keysAtOnce = 64
)

// GossipKeyReport says which node has which gossip keys, by their fingerprints.
type GossipKeyReport struct {
	// Nodes are all nodes of the cluster, in the order of their IDs.
	Nodes []NodeGossipKeys
}

// NodeGossipKeys are the gossip keys of one node.
type NodeGossipKeys struct {
	Node string
	// Active is false for a node that is down: nobody waits for it.
	Active bool
	// Primary is the key that the node encrypts with; "" without keys, and
	// when it did not answer.
	Primary string
	// Keys are those that it decrypts with, Primary first.
	Keys []string
	// Problem says why the node did not answer, or did not do what it was asked;
	// "" when all is well.
	Problem string
}

// GossipKeyFingerprint names a gossip key without telling it.
func GossipKeyFingerprint(key []byte) string { return gossip.Fingerprint(key) }

// GossipKeys asks every node which gossip keys it has. The error is
// ErrNotReady before the node is a member; a node that does not answer is in
// the report.
func (c *ClusterKit) GossipKeys(ctx context.Context) (GossipKeyReport, error) {
	r := c.running.Load()
	if r == nil {
		return GossipKeyReport{}, ErrNotReady
	}
	return r.changeKeys(ctx, peer.KeyChange{}), nil
}

// InstallGossipKey gives every node a key of 16, 24 or 32 random bytes that it
// decrypts with from now on; UseGossipKey is the next step. The key travels
// over the cluster ports: it is refused while one of them is neither protected
// by TLS nor a loopback address, unless Options.Insecure is set. Errors:
// ErrInvalid, ErrConflict (the cluster gossips without keys: set
// Options.GossipKeys on every node and restart them), ErrUnknown (some active
// node may not have taken it, as the report says: ask again).
//
// A node that was down for all of an exchange hears nobody and is heard by
// nobody when it is back, but takes these calls: install and use again, or
// change its GossipKeys and restart it.
func (c *ClusterKit) InstallGossipKey(ctx context.Context, key []byte) (GossipKeyReport, error) {
	r := c.running.Load()
	switch n := len(key); {
	case n != 16 && n != 24 && n != 32:
		return GossipKeyReport{}, fmt.Errorf("%w: the key has %d bytes: use 16, 24 or 32 random ones", ErrInvalid, n)
	case r == nil:
		return GossipKeyReport{}, ErrNotReady
	case r.keys.State().Primary == "":
		return GossipKeyReport{}, fmt.Errorf("%w: the cluster gossips without keys: set Options.GossipKeys on every node and restart them", ErrConflict)
	}
	for _, n := range c.Snapshot().Nodes {
		if !c.settings.confidential(n.RaftAddr) {
			return GossipKeyReport{}, fmt.Errorf("%w: the key would cross the network in clear to %s at %s: protect the cluster ports by TLS, or set Insecure on a network that you trust", ErrInvalid, n.ID, n.RaftAddr)
		}
	}
	report := r.changeKeys(ctx, peer.KeyChange{Do: "install", Key: key})
	return report, report.problem(ErrUnknown)
}

// UseGossipKey has every node encrypt with the key that has the fingerprint.
// It is refused (ErrConflict) while an active node does not hold the key, as it
// would be cut off, or does not answer (ErrUnavailable); RemoveGossipKey is the
// last step. Other errors are those of InstallGossipKey.
func (c *ClusterKit) UseGossipKey(ctx context.Context, fingerprint string) (GossipKeyReport, error) {
	return c.stepKeys(ctx, peer.KeyChange{Do: "use", Fingerprint: fingerprint}, func(n NodeGossipKeys) string {
		if slices.Contains(n.Keys, fingerprint) {
			return ""
		}
		return n.Node + " does not hold the key " + fingerprint + ": install it first"
	})
}

// RemoveGossipKey has every node forget the key that has the fingerprint. It is
// refused while an active node encrypts with it, when no node holds it
// (ErrConflict), and while an active node does not answer (ErrUnavailable).
// Other errors are those of InstallGossipKey.
func (c *ClusterKit) RemoveGossipKey(ctx context.Context, fingerprint string) (GossipKeyReport, error) {
	return c.stepKeys(ctx, peer.KeyChange{Do: "remove", Fingerprint: fingerprint}, func(n NodeGossipKeys) string {
		if n.Primary != fingerprint {
			return ""
		}
		return n.Node + " encrypts with the key " + fingerprint + ": have another one used first"
	})
}

// stepKeys takes a step of an exchange, if every active node is ready for it.
func (c *ClusterKit) stepKeys(ctx context.Context, change peer.KeyChange, objection func(NodeGossipKeys) string) (GossipKeyReport, error) {
	report, err := c.GossipKeys(ctx)
	if err != nil {
		return report, err
	}
	if change.Fingerprint == "" {
		return report, fmt.Errorf("%w: name the key by its fingerprint, of 16 hexadecimal digits", ErrInvalid)
	}
	if err := report.problem(ErrUnavailable); err != nil {
		return report, err
	}
	held := false
	for _, n := range report.Nodes {
		if text := objection(n); text != "" && n.Active {
			return report, fmt.Errorf("%w: %s", ErrConflict, text)
		}
		held = held || slices.Contains(n.Keys, change.Fingerprint)
	}
	if !held { // mistyped, most likely
		return report, fmt.Errorf("%w: no node holds the key %.40q", ErrConflict, change.Fingerprint)
	}
	report = c.running.Load().changeKeys(ctx, change)
	return report, report.problem(ErrUnknown)
}

// problem is an error of the given kind that names the active nodes that did
// not do what they were asked.
func (r GossipKeyReport) problem(kind error) error {
	var texts []string
	for _, n := range r.Nodes {
		if n.Active && n.Problem != "" {
			texts = append(texts, n.Node+": "+n.Problem)
		}
	}
	if texts == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", kind, strings.Join(texts, "; "))
}

// confidential reports whether what goes to a cluster port cannot be read on
// the way, or was said to be safe.
func (s *settings) confidential(addr string) bool {
	return s.TLS != nil || s.Insecure || !exposed(addr)
}

// changeKeys asks every node for one change, all at once.
func (r *running) changeKeys(ctx context.Context, change peer.KeyChange) GossipKeyReport {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	nodes := r.kit.Snapshot().Nodes
	report := GossipKeyReport{Nodes: make([]NodeGossipKeys, len(nodes))}
	var asked sync.WaitGroup
	slots := make(chan struct{}, keysAtOnce)
	for i, n := range nodes {
		asked.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			report.Nodes[i] = NodeGossipKeys{Node: n.ID, Active: n.State == topology.NodeActive}
			var ring peer.KeyRing
			var err error
			if n.UUID == r.record.UUID {
				ring, err = r.ChangeKeys(ctx, change)
			} else {
				ring, err = r.client.ChangeKeys(ctx, n.RaftAddr, change)
			}
			if err != nil {
				report.Nodes[i].Problem = err.Error()
			}
			report.Nodes[i].Primary, report.Nodes[i].Keys = ring.Primary, ring.Keys
		})
	}
	asked.Wait()
	return report
}

// ChangeKeys changes this node's gossip keys.
func (r *running) ChangeKeys(_ context.Context, c peer.KeyChange) (peer.KeyRing, error) {
	var ring gossip.Ring
	var err error
	switch c.Do {
	case "":
		ring = r.keys.State()
	case "install":
		ring, err = r.keys.Install(c.Key)
	case "use":
		ring, err = r.keys.Use(c.Fingerprint)
	case "remove":
		ring, err = r.keys.Remove(c.Fingerprint)
	default:
		return peer.KeyRing{}, fmt.Errorf("%w: %.20q is nothing to do with a key: this node's version is too old", peer.ErrRefused, c.Do)
	}
	switch {
	case errors.Is(err, gossip.ErrNoKeys), errors.Is(err, gossip.ErrNoSuchKey), errors.Is(err, gossip.ErrKeyInUse), errors.Is(err, gossip.ErrKeyring):
		return peer.KeyRing{}, fmt.Errorf("%w: %w", peer.ErrRefused, err)
	case err != nil:
		return peer.KeyRing{}, err
	case c.Do != "":
		r.logger.Info("gossip keys changed", "step", c.Do, "primary", ring.Primary, "keys", len(ring.Keys))
	}
	return peer.KeyRing{Primary: ring.Primary, Keys: ring.Keys}, nil
}
