package clusterkit

import (
	"github.com/skshohagmiah/clusterkit/hooks"
)

// What the lifecycle hooks are told; see package hooks for the fields.
type (
	// NodeRejoin is a node that is back.
	NodeRejoin = hooks.NodeRejoin
	// NodeLeave is a node that is gone, and why.
	NodeLeave = hooks.NodeLeave
	// RebalanceStart and RebalanceComplete bound a period of moves.
	RebalanceStart    = hooks.RebalanceStart
	RebalanceComplete = hooks.RebalanceComplete
	// Health is the cluster in a few numbers.
	Health = hooks.Health
)

// How a cluster can be.
const (
	Healthy  = hooks.Healthy
	Degraded = hooks.Degraded
	Critical = hooks.Critical
)

// OnNodeJoin registers a function that is told of new members.
//
// This and the other lifecycle hooks are called on every node alike, for what
// was committed and applied after the node started; on one goroutine, one after
// the other; they may block, and are told afterwards, merged, what happened
// meanwhile. A panic is logged and ends that call only.
func (c *ClusterKit) OnNodeJoin(f func(Node)) {
	hooks.On(c.lifecycle, func(e hooks.NodeJoin) { f(e.Node) })
}

// OnNodeRejoin registers a function that is told of nodes that are back, how
// long they were away, and what they still hold. See OnNodeJoin.
func (c *ClusterKit) OnNodeRejoin(f func(NodeRejoin)) { hooks.On(c.lifecycle, f) }

// OnNodeLeave registers a function that is told of nodes that are gone, why,
// and what they held and led. See OnNodeJoin.
func (c *ClusterKit) OnNodeLeave(f func(NodeLeave)) { hooks.On(c.lifecycle, f) }

// OnRebalanceStart registers a function that is told when replicas or roles
// begin to move. See OnNodeJoin.
func (c *ClusterKit) OnRebalanceStart(f func(RebalanceStart)) { hooks.On(c.lifecycle, f) }

// OnRebalanceComplete registers a function that is told when the planner has
// nothing left to move, with what moved and how long it took. See OnNodeJoin.
func (c *ClusterKit) OnRebalanceComplete(f func(RebalanceComplete)) { hooks.On(c.lifecycle, f) }

// OnClusterHealthChange registers a function that is told when the cluster
// becomes healthy, degraded or critical. See OnNodeJoin.
func (c *ClusterKit) OnClusterHealthChange(f func(before, after Health)) {
	hooks.On(c.lifecycle, func(e hooks.HealthChange) { f(e.Before, e.After) })
}

// Health returns the health of the cluster as this node has applied it.
func (c *ClusterKit) Health() Health { return hooks.HealthOf(c.Snapshot()) }
