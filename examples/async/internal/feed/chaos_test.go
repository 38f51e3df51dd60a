package feed

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

var chaosSeeds = flag.Int("chaos", 3, "seeds of the tests under chaos")

const (
	chaosNodes      = "abcde"
	chaosPartitions = 3
	chaosWriters    = 6
	chaosSteps      = 30
)

// chaos is a lab in which clients write while nodes die, hang, are cut off,
// come back, and hand over their roles and data.
type chaos struct {
	*lab
	rng     *rand.Rand
	down    []string
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]string
	allowed [chaosPartitions]uint64 // what primaries reported that they alone had, when they were lost
	tries   int
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{lab: newLab(t, chaosPartitions, 3, seed), rng: rand.New(rand.NewPCG(seed, 2)), acked: make(map[string]string)}
	c.config = Config{MaxLag: 4 + c.rng.Uint64N(30), Keep: 200, AnswerEarly: c.rng.IntN(3) == 0}
	for _, id := range chaosNodes {
		c.start(string(id))
	}
	for i := range chaosPartitions {
		ids := []string{string(chaosNodes[i]), string(chaosNodes[(i+1)%5]), string(chaosNodes[(i+2)%5])}
		c.Commit(topology.Place{Partition: i, Replicas: ids})
		slices.Sort(ids)
	}
	c.settled()
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for w := range chaosWriters {
		c.running.Go(func() { c.write(ctx, w, rand.New(rand.NewPCG(seed, uint64(w)+10))) })
	}
	c.running.Go(func() { c.plan(ctx) })
	return c
}

// settled waits until every replica of every partition is in-sync and nothing moves.
func (c *chaos) settled() {
	c.t.Helper()
	c.Until("every replica is in-sync", func(t *topology.Topology) bool {
		for _, p := range t.Partitions {
			if p.Primary == "" || p.Move != nil || p.InSync() != len(p.Replicas) {
				return false
			}
		}
		return true
	})
}

// write writes keys of its own, each once, and remembers what was acknowledged.
func (c *chaos) write(ctx context.Context, w int, rng *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		n := c.node(string(chaosNodes[rng.IntN(len(chaosNodes))]))
		key := fmt.Sprintf("w%d-%d", w, i)
		call, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := n.Set(call, key, []byte(strconv.Itoa(i)))
		cancel()
		c.mu.Lock()
		if c.tries++; err == nil {
			c.acked[key] = strconv.Itoa(i)
		}
		c.mu.Unlock()
		time.Sleep(time.Duration(rng.Int64N(int64(12 * time.Millisecond))))
	}
}

// plan does the planner's part in moves: it settles them, and gives them up.
func (c *chaos) plan(ctx context.Context) {
	since := make(map[uint64]time.Time)
	for ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		for i := range chaosPartitions {
			m := c.Partition(i).Move
			if m == nil {
				continue
			}
			if _, known := since[m.Session]; !known {
				since[m.Session] = time.Now()
			}
			switch {
			case m.Stage == topology.StageSettle && time.Since(since[m.Session]) > 300*time.Millisecond: // every node has heard
				c.Commit(topology.MoveSettle{Partition: i, Session: m.Session})
			case m.Stage != topology.StageSettle && time.Since(since[m.Session]) > 5*time.Second:
				c.Commit(topology.MoveAbort{Partition: i, Session: m.Session})
			}
		}
	}
}

func (c *chaos) some(most time.Duration) time.Duration {
	return time.Duration(c.rng.Int64N(int64(most)))
}

// alive returns a node that runs; nil if too few would be left without it.
func (c *chaos) alive() *labNode {
	var ids []string
	for _, id := range chaosNodes {
		if !slices.Contains(c.down, string(id)) {
			ids = append(ids, string(id))
		}
	}
	if len(ids) <= 2 {
		return nil
	}
	return c.node(ids[c.rng.IntN(len(ids))])
}

// depose ends a node's lease. What it reports from then on to be missing
// elsewhere is the most that may be lost with it.
func (c *chaos) depose(n *labNode) {
	n.dead.Store(true)
	for _, row := range n.lags().Partitions {
		if c.Partition(row.index).Primary == n.id {
			c.mu.Lock()
			c.allowed[row.index] += row.Lag
			c.mu.Unlock()
			if row.Lag > c.config.MaxLag {
				c.t.Errorf("%s reports a lag of %d, and %d is the bound", n.id, row.Lag, c.config.MaxLag)
			}
		}
	}
}

func (c *chaos) crash() {
	n := c.alive()
	if n == nil {
		return
	}
	c.depose(n)
	n.kill()
	c.down = append(c.down, n.id)
	time.Sleep(c.some(50 * time.Millisecond))
	n.Fail()
}

// crashAhead is a crash of a node that others could not follow for a while.
func (c *chaos) crashAhead() {
	if a, b := c.alive(), c.alive(); a != nil && b != nil {
		c.cut(a, b)
		time.Sleep(c.some(500 * time.Millisecond))
	}
	c.crash()
	c.cut()
}

func (c *chaos) restart() {
	if len(c.down) > 0 {
		c.start(c.down[0])
		c.down = c.down[1:]
	}
}

// hang is a node that hears of nothing any more, while its lease lasts; then
// it is replaced, or it comes back in time.
func (c *chaos) hang() {
	n := c.alive()
	if n == nil {
		return
	}
	n.Freeze()
	time.Sleep(c.some(1500 * time.Millisecond))
	if c.rng.IntN(2) == 0 {
		n.Thaw()
		return
	}
	c.depose(n)
	c.Commit(n.Death(topology.DownSilence))
	time.Sleep(c.some(time.Second))
	n.Thaw()
	n.dead.Store(false)
	c.Commit(n.Registration(n.addr()))
}

func (c *chaos) cutOff() {
	var nodes []*labNode
	for range 1 + c.rng.IntN(2) {
		if n := c.alive(); n != nil {
			nodes = append(nodes, n)
		}
	}
	c.cut(nodes...)
	time.Sleep(c.some(3 * time.Second))
	c.cut()
}

// move hands a role over, or a replica.
func (c *chaos) move() {
	p := c.Partition(c.rng.IntN(chaosPartitions))
	m := topology.MoveStart{Partition: p.Index, Version: p.Version, Reason: topology.ReasonManual}
	if m.To = string(chaosNodes[c.rng.IntN(len(chaosNodes))]); p.Replica(m.To) != nil {
		m.From, m.Role = p.Primary, true
	} else {
		m.From = p.Replicas[c.rng.IntN(len(p.Replicas))].Node
	}
	c.Commit(m)
}

// finish heals everything and returns the acknowledged writes that are missing,
// by partition, and the events of all lives.
func (c *chaos) finish() (missing [chaosPartitions]uint64, events []Event) {
	c.t.Helper()
	c.cut()
	for len(c.down) > 0 {
		c.restart()
	}
	c.settled()
	c.stop()
	c.running.Wait()
	reader := c.node("a")
	for key, want := range c.acked {
		if got := reader.get(key); got == "absent" {
			missing[c.IndexOf(key)]++
		} else if got != want {
			c.t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	c.lab.mu.Lock()
	events = slices.Clone(c.told)
	c.lab.mu.Unlock()
	for _, id := range chaosNodes {
		list, _ := c.node(string(id)).events.after(0)
		events = append(events, list...)
	}
	return missing, events
}

// TestLossIsBoundedAndReported: whatever happens, what was acknowledged and is
// missing is at most what the primaries that were lost reported to have alone,
// and at most what the events say.
func TestLossIsBoundedAndReported(t *testing.T) {
	total := struct {
		sync.Mutex
		acked, missing, allowed uint64
	}{}
	t.Run("seeds", func(t *testing.T) {
		for seed := range *chaosSeeds {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				inLab(t, func(t *testing.T) {
					c := newChaos(t, uint64(seed))
					actions := []func(){c.crash, c.crashAhead, c.crashAhead, c.restart, c.restart, c.restart, c.hang, c.cutOff, c.move, c.move}
					for range chaosSteps {
						time.Sleep(c.some(300 * time.Millisecond))
						actions[c.rng.IntN(len(actions))]()
					}
					missing, events := c.finish()
					total.Lock()
					defer total.Unlock()
					total.acked += uint64(len(c.acked))
					for i, n := range missing {
						total.missing, total.allowed = total.missing+n, total.allowed+c.allowed[i]
						reported := uint64(0)
						for _, e := range events {
							if e.Kind == EventFailover && e.Partition == topology.Name(i) {
								reported += e.Bound
							}
						}
						if n > c.allowed[i] || n > reported {
							t.Errorf("seed %d, partition %d, MaxLag %d, early %v: %d of %d acknowledged writes are missing; primaries reported %d, events %d",
								seed, i, c.config.MaxLag, c.config.AnswerEarly, n, len(c.acked), c.allowed[i], reported)
						}
					}
				})
			})
		}
	})
	t.Logf("%d acknowledged, %d missing, %d allowed", total.acked, total.missing, total.allowed)
	if total.missing == 0 {
		t.Error("nothing was ever lost: the test shows nothing")
	}
}

// TestPlannedChangesLoseNothing: roles and replicas that are handed over while
// clients write cost none of their writes.
func TestPlannedChangesLoseNothing(t *testing.T) {
	for seed := range *chaosSeeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inLab(t, func(t *testing.T) {
				c := newChaos(t, uint64(seed))
				for range chaosSteps {
					time.Sleep(c.some(300 * time.Millisecond))
					c.move()
				}
				missing, events := c.finish()
				if missing != [chaosPartitions]uint64{} {
					t.Errorf("seed %d: %v of %d acknowledged writes are missing", seed, missing, len(c.acked))
				}
				for _, e := range events {
					if e.Kind != EventOutOfSync {
						t.Errorf("seed %d: an event of a loss: %+v", seed, e)
					}
				}
				if c.Partition(0).Epoch+c.Partition(1).Epoch+c.Partition(2).Epoch < 10 {
					t.Error("too few roles were handed over")
				}
			})
		})
	}
}
