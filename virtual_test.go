package clusterkit

import (
	"fmt"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
)

// virtual runs a test of a whole cluster in virtual time, on hosts of its own.
// On a machine that is too busy to let nodes renew their leases they are failed
// over, and damped when that happens again, rightly: what a test that is not
// about failures asks for would come after minutes. Here a node waits for
// nothing but other nodes.
func virtual(t *testing.T, test func(*testing.T, *lab)) {
	bubble.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // after the nodes have stopped: timers of libraries have a last word
		test(t, &lab{network: simnet.New(1), clock: virtualClock{time.Now()}})
	})
}

// lab gives nodes their hosts.
type lab struct {
	network *simnet.Network
	clock   Clock
	hosts   int
}

// virtualClock is the time of the bubble.
type virtualClock struct{ began time.Time }

func (c virtualClock) Now() time.Duration { return time.Since(c.began) }

// place completes options for a node on a new host.
func (l *lab) place(o Options) Options {
	l.hosts++
	ip := fmt.Sprintf("10.0.0.%d", l.hosts)
	o.HTTPAddr, o.RaftAddr, o.GossipAddr = ip+":8080", ip+":9001", ip+":10001"
	o.Network, o.Clock, o.Insecure = l.network.Host(ip), l.clock, true // nobody but the nodes is on this network
	return o
}

// start is start on a new host.
func (l *lab) start(t *testing.T, o Options) *ClusterKit {
	t.Helper()
	return start(t, l.place(o))
}

// cluster starts n nodes that have one another, each on a host of its own.
func (l *lab) cluster(t *testing.T, n int) []*ClusterKit {
	t.Helper()
	return form(t, n, l.place)
}
