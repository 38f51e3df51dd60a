package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"time"

	ckhttp "github.com/skshohagmiah/clusterkit/http"
	"github.com/skshohagmiah/clusterkit/topology"
)

// operator carries out what the HTTP API is asked to do.
type operator struct{ kit *ClusterKit }

var _ ckhttp.Operator = operator{}

// httpError gives an error the sentinel by which the HTTP API chooses a status.
func httpError(err error) error {
	for _, e := range []struct{ ours, theirs error }{
		{ErrUnknown, ckhttp.ErrUnknown}, {ErrInvalid, ckhttp.ErrInvalid}, {ErrConflict, ckhttp.ErrConflict},
		{ErrUnavailable, ckhttp.ErrUnavailable}, {ErrNotReady, ckhttp.ErrUnavailable}, {ErrStopped, ckhttp.ErrUnavailable},
	} {
		if errors.Is(err, e.ours) {
			return fmt.Errorf("%w: %w", e.theirs, err)
		}
	}
	return err
}

// known is ckhttp.ErrNotFound unless the node has a record.
func (o operator) known(node string) error {
	if t := o.kit.Snapshot(); t.Founded() && t.Node(node) == nil {
		return fmt.Errorf("%w: there is no node %q", ckhttp.ErrNotFound, node)
	}
	return nil
}

func (o operator) SetIntent(ctx context.Context, node string, intent topology.NodeIntent) error {
	if err := o.known(node); err != nil {
		return err
	}
	if going := intent == topology.IntentDrain || intent == topology.IntentLeave; going && lastOne(o.kit.Snapshot(), node) {
		return fmt.Errorf("%w: no other node is active: there is nowhere to move anything to", ckhttp.ErrConflict)
	}
	return httpError(o.kit.operate(ctx, settled, topology.SetIntent{Node: node, Intent: intent}))
}

func (o operator) SetWeight(ctx context.Context, node string, weight int) error {
	if err := o.known(node); err != nil {
		return err
	}
	return httpError(o.kit.SetWeight(ctx, node, weight))
}

func (o operator) RestartIntent(ctx context.Context, node string, ttl time.Duration) error {
	if err := o.known(node); err != nil {
		return err
	}
	return httpError(o.kit.operate(ctx, settled, topology.ExpectRestart{Node: node, TTL: ttl}))
}

func (o operator) RemoveNode(ctx context.Context, node string, force bool) error {
	if err := o.known(node); err != nil {
		return err
	}
	return httpError(o.kit.RemoveNode(ctx, node, force))
}

func (o operator) MovePartition(ctx context.Context, partition, from, to string) error {
	if o.kit.partitionByID(partition) == nil && o.kit.Snapshot().Founded() {
		return fmt.Errorf("%w: there is no partition %q", ckhttp.ErrNotFound, partition)
	}
	return httpError(o.kit.MovePartition(ctx, partition, from, to))
}

func (o operator) ResetReplica(ctx context.Context, partition, node string) error {
	if o.kit.partitionByID(partition) == nil && o.kit.Snapshot().Founded() {
		return fmt.Errorf("%w: there is no partition %q", ckhttp.ErrNotFound, partition)
	}
	return httpError(o.kit.ResetReplica(ctx, partition, node))
}

func (o operator) Rebalance(ctx context.Context) error { return httpError(o.kit.Rebalance(ctx)) }

func (o operator) Pause(ctx context.Context, ttl time.Duration, note string) error {
	return httpError(o.kit.Pause(ctx, ttl, note))
}

func (o operator) Resume(ctx context.Context) error { return httpError(o.kit.Resume(ctx)) }

func (o operator) Preview(_ context.Context, s topology.Scenario) (topology.Preview, error) {
	p, err := o.kit.Plan(s)
	return p, httpError(err)
}

func (o operator) SafeToStop(node string) topology.Safety { return o.kit.SafeToStop(node) }

func (o operator) PutData(ctx context.Context, key string, value []byte) error {
	return httpError(o.kit.SetCustomData(ctx, key, value))
}

func (o operator) DeleteData(ctx context.Context, key string) error {
	return httpError(o.kit.DeleteCustomData(ctx, key))
}

func (o operator) GossipKeys(ctx context.Context, c ckhttp.KeyChange) ([]ckhttp.NodeKeys, error) {
	var report GossipKeyReport
	var err error
	switch c.Do {
	case "install":
		report, err = o.kit.InstallGossipKey(ctx, c.Key)
	case "use":
		report, err = o.kit.UseGossipKey(ctx, c.Fingerprint)
	case "remove":
		report, err = o.kit.RemoveGossipKey(ctx, c.Fingerprint)
	default:
		report, err = o.kit.GossipKeys(ctx)
	}
	out := make([]ckhttp.NodeKeys, len(report.Nodes))
	for i, n := range report.Nodes {
		out[i] = ckhttp.NodeKeys{Node: n.Node, Active: n.Active, Primary: n.Primary, Keys: n.Keys, Problem: n.Problem}
	}
	return out, httpError(err)
}
