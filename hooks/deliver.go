package hooks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// job is one delivery, decided under the lock and carried out without it.
type job struct {
	partition   int
	duty        topology.Duty
	call        bool // the duty is new: call the hooks
	ack         topology.AckStep
	transition  Transition
	target      topology.Node // this node, for ChangeFuncs
	transitions []TransitionFunc
	changes     []ChangeFunc
	news        []news // copies of other nodes
}

// news is a copy that another node must make.
type news struct{ from, to *topology.Node }

// work delivers what one partition wants until it is at rest or must wait.
func (d *Dispatcher) work(i int, b *box) {
	for {
		ctx, cancel := context.WithCancel(d.ctx)
		j, ok := d.next(i, b, cancel)
		if !ok {
			cancel()
			return
		}
		err := d.run(ctx, j)
		cancel()
		if !d.done(b, j, err) {
			return
		}
	}
}

// next decides what is to be done for a partition. When nothing is, it gives
// the slot back and returns false.
func (d *Dispatcher) next(i int, b *box, cancel context.CancelFunc) (job, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.again = false
	j := job{partition: i}
	if d.ctx.Err() == nil && i < len(d.topology.Partitions) {
		d.decide(&j, b)
	}
	if !j.call && j.ack == "" && len(j.news) == 0 {
		d.release(b)
		return job{}, false
	}
	if j.duty != b.working {
		b.attempt = 0
	}
	b.working, b.cancel = j.duty, cancel
	if j.call {
		b.attempt++
		j.transition.Attempt, j.transition.Resumed = b.attempt, b.resumed
	}
	return j, true
}

// decide fills in the job. The caller holds mu.
func (d *Dispatcher) decide(j *job, b *box) {
	t := d.topology
	p := t.Partitions[j.partition]
	j.duty = d.duty(p)
	j.transitions, j.changes = slices.Clone(d.transitions), slices.Clone(d.changes)
	j.target = *t.Node(d.c.NodeID)
	j.transition = transition(t, d.c.NodeID, p, b.delivered, j.duty)
	j.call = j.duty != b.delivered
	if j.call || b.acked {
		j.ack = ackStep(j.duty)
	}
	if len(j.changes) == 0 {
		return
	}
	now := copies(p, d.c.NodeID, true, true)
	for _, c := range now {
		if !slices.Contains(b.told, c) {
			n := news{to: copyNode(t.Node(c.node))}
			if s := t.Sources(p, c.node); len(s) > 0 {
				n.from = copyNode(s[0])
			}
			j.news = append(j.news, n)
		}
	}
	b.told = now
}

// done takes the result of a job, and reports whether to look again at once.
func (d *Dispatcher) done(b *box, j job, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.cancel = nil
	if err != nil {
		if d.ctx.Err() == nil && !b.again {
			d.c.Logger.Warn("hook failed and will be called again", "partition", j.transition.PartitionID,
				"role", string(j.duty.Role), "attempt", b.attempt, "error", err)
			d.later(j.partition, b, pauseBefore(b.attempt))
			return false
		}
		return true
	}
	if j.call {
		b.delivered, b.resumed, b.attempt = j.duty, false, 0
		if j.ack == "" {
			d.c.Cursor.Save(j.partition, j.duty)
		}
	}
	b.acked = j.ack != ""
	if b.acked && !b.again {
		// The topology answers, by a new duty, or the acknowledgement is lost.
		d.later(j.partition, b, ackAgain)
		return false
	}
	return true
}

// later gives the slot back and queues the partition again after a pause. The
// caller holds mu.
func (d *Dispatcher) later(i int, b *box, pause time.Duration) {
	b.attempt = max(b.attempt, 1) // a pause belongs to the duty in work
	var timer *time.Timer
	timer = time.AfterFunc(pause, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if b.retry == timer {
			b.retry = nil
			d.schedule(i)
		}
	})
	b.retry = timer
	d.release(b)
}

// release gives a slot back. The caller holds mu.
func (d *Dispatcher) release(b *box) {
	b.busy, b.cancel = false, nil
	d.running--
	d.fill()
}

// pauseBefore returns the pause before the next attempt: exponential with
// jitter, so that hooks that failed together do not come back together.
func pauseBefore(attempt int) time.Duration {
	d := backoffMin << min(attempt-1, 20)
	if d > backoffMax || d <= 0 {
		d = backoffMax
	}
	return d/2 + rand.N(d/2+1)
}

// run calls the hooks and has the success acknowledged.
func (d *Dispatcher) run(ctx context.Context, j job) error {
	for _, n := range j.news {
		for _, f := range j.changes {
			// On other nodes than the target this is news, not work: what
			// fails here is the application's to see to.
			if err := d.call(func() error { f(j.transition.PartitionID, n.from, n.to); return nil }); err != nil {
				d.c.Logger.Error("hook panicked", "partition", j.transition.PartitionID, "error", err)
			}
		}
	}
	if j.call {
		if err := d.callAll(ctx, j); err != nil {
			return err
		}
	}
	if j.ack == "" {
		return nil
	}
	err := d.c.Acker.Ack(ctx, topology.Ack{
		Partition: j.partition, Node: d.c.NodeID, Incarnation: d.c.Incarnation, Session: j.duty.Session, Step: j.ack,
	})
	if err != nil && ctx.Err() == nil {
		d.c.Logger.Debug("acknowledgement failed and will be sent again", "partition", j.transition.PartitionID, "error", err)
	}
	return nil
}

// callAll calls every hook that the duty concerns.
func (d *Dispatcher) callAll(ctx context.Context, j job) error {
	for _, f := range j.transitions {
		if err := d.call(func() error { return f(ctx, j.transition) }); err != nil {
			return err
		}
	}
	if j.duty.Role != topology.RoleLearner {
		return nil
	}
	for _, f := range j.changes {
		to := j.target
		var from *topology.Node
		if len(j.transition.Sources) > 0 {
			from = copyNode(&j.transition.Sources[0])
		}
		if err := d.call(func() error { f(j.transition.PartitionID, from, &to); return nil }); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// call runs user code: a panic becomes an error.
func (d *Dispatcher) call(f func() error) (err error) {
	defer func() {
		p := recover()
		if p != nil {
			err = fmt.Errorf("hooks: panic: %v\n%s", p, debug.Stack())
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.stats.Calls++
		if err != nil {
			d.stats.Failures++
		}
		if p != nil {
			d.stats.Panics++
		}
	}()
	return f()
}

func copyNode(n *topology.Node) *topology.Node {
	if n == nil {
		return nil
	}
	c := *n
	return &c
}
