package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	call        bool // the duty, or a hook, is new: call the hooks
	ack         topology.AckStep
	transition  Transition
	target      *topology.Node   // this node, for ChangeFuncs
	transitions []TransitionFunc // those that have not succeeded with this duty
	changes     []ChangeFunc     // likewise
	news        []news           // copies of other nodes
	listeners   []ChangeFunc     // for news
}

// result is what became of a job.
type result struct {
	transitions, changes int   // hooks that succeeded
	err                  error // of the hook that did not
	ack                  error // why the acknowledgement was not taken
}

// news is a copy that another node must make.
type news struct{ from, to *topology.Node }

// work delivers what one partition wants until it is at rest or must wait.
func (d *Dispatcher) work(i int, b *box) {
	var j job
	returned := true
	defer func() {
		if !returned {
			// The hook ended its goroutine (runtime.Goexit, as FailNow of a
			// test does): a failure like any other.
			if d.done(b, j, result{err: errExited}) {
				d.mu.Lock()
				d.release(b)
				d.schedule(i)
				d.mu.Unlock()
			}
		}
	}()
	for {
		ctx, cancel := context.WithCancel(d.ctx)
		var ok bool
		if j, ok = d.next(i, b, cancel); !ok {
			cancel()
			return
		}
		returned = false
		res := d.run(ctx, j)
		returned = true
		cancel()
		if !d.done(b, j, res) {
			return
		}
	}
}

var errExited = errors.New("hooks: the hook ended its goroutine")

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
		b.since = time.Time{}
		d.release(b)
		return job{}, false
	}
	b.cancel = cancel
	if j.call {
		d.begin(&j, b)
	}
	return j, true
}

// begin notes that a duty is handed out. From then on its end must be told,
// even if no call succeeds and after a restart: a copy that was begun may have
// left data behind. The caller holds mu.
func (d *Dispatcher) begin(j *job, b *box) {
	hooked := len(j.transitions)+len(j.changes) > 0
	if b.delivered.Role == topology.RoleNone && b.begun == (topology.Duty{}) && j.duty.Role != topology.RoleNone && hooked {
		// Of no incarnation: differs from any duty.
		d.c.Cursor.Save(j.partition, topology.Duty{Role: j.duty.Role})
	}
	if j.duty == b.delivered && b.begun == (topology.Duty{}) {
		b.before = j.duty.Role // only the hook is new
	}
	if b.attempt++; b.attempt > 1 && hooked {
		d.stats.Retries++
	}
	b.begun = j.duty
	j.transition.Before, j.transition.Attempt, j.transition.Resumed = b.before, b.attempt, b.resumed
}

// take makes a duty the one in work. The caller holds mu.
func (b *box) take(duty topology.Duty) {
	if duty == b.working {
		return
	}
	b.working, b.before = duty, b.delivered.Role
	if b.begun != (topology.Duty{}) {
		b.before = b.begun.Role
	}
	b.attempt, b.ackAttempt, b.transitions, b.changes = 0, 0, 0, 0
}

// decide fills in the job. The caller holds mu.
func (d *Dispatcher) decide(j *job, b *box) {
	t := d.topology
	p := t.Partitions[j.partition]
	j.duty = d.duty(p)
	b.take(j.duty)
	j.transitions, j.changes = pending(j.duty, d.transitions[b.transitions:], d.changes[b.changes:])
	j.call = due(b.delivered, b.begun, j.duty, len(j.transitions)+len(j.changes))
	j.target = copyNode(t.Node(d.c.NodeID))
	j.transition = transition(t, d.c.NodeID, p, b.before, j.duty)
	if j.call || b.acked {
		j.ack = ackStep(j.duty)
	}
	if len(d.changes) == 0 {
		return
	}
	j.listeners = slices.Clone(d.changes)
	now := copies(p, d.c.NodeID, true, true)
	for _, c := range now {
		if !slices.Contains(b.told, c) {
			n := news{to: t.Node(c.node)}
			if s := t.Sources(p, c.node); len(s) > 0 {
				n.from = s[0]
			}
			j.news = append(j.news, n)
		}
	}
	b.told = now
}

// done takes the result of a job, and reports whether to look again at once.
func (d *Dispatcher) done(b *box, j job, res result) bool {
	if res.err != nil && d.ctx.Err() == nil {
		d.c.Logger.Warn("hook failed", "partition", j.transition.PartitionID,
			"role", string(j.duty.Role), "attempt", j.transition.Attempt, "error", res.err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b.cancel = nil
	b.transitions, b.changes = b.transitions+res.transitions, b.changes+res.changes
	newest := d.duty(d.topology.Partitions[j.partition])
	if res.err != nil {
		if newest != j.duty {
			return true
		}
		d.later(j.partition, b, pauseBefore(b.attempt))
		return false
	}
	if j.call {
		b.delivered, b.begun, b.resumed, b.attempt, b.since = j.duty, topology.Duty{}, false, 0, time.Time{}
		if newest != j.duty {
			b.since = time.Now()
		}
		if j.ack == "" {
			d.c.Cursor.Save(j.partition, j.duty)
		}
	}
	b.acked = j.ack != ""
	switch {
	case !b.acked || b.again:
		return true
	case res.ack != nil:
		b.ackAttempt++
		d.later(j.partition, b, pauseBefore(b.ackAttempt))
	default:
		// The topology answers, by a new duty, or the acknowledgement is lost.
		d.later(j.partition, b, ackAgain)
	}
	return false
}

// later gives the slot back and queues the partition again after a pause. The
// caller holds mu.
func (d *Dispatcher) later(i int, b *box, pause time.Duration) {
	if d.wg == nil {
		d.release(b) // Run ends: nothing may outlive it
		return
	}
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
func (d *Dispatcher) run(ctx context.Context, j job) (res result) {
	for _, n := range j.news {
		for _, f := range j.listeners {
			// On other nodes than the target this is news, not work: what
			// fails here is the application's to see to.
			if err := d.call(func() error { f(j.transition.PartitionID, copyNode(n.from), copyNode(n.to)); return nil }); err != nil {
				d.c.Logger.Error("hook panicked", "partition", j.transition.PartitionID, "error", err)
			}
		}
	}
	if j.call {
		if d.callAll(ctx, j, &res); res.err != nil {
			return res
		}
	}
	if j.ack == "" {
		return res
	}
	try, cancel := context.WithTimeout(ctx, ackTry)
	defer cancel()
	res.ack = d.c.Acker.Ack(try, topology.Ack{
		Partition: j.partition, Node: d.c.NodeID, Incarnation: d.c.Incarnation, Session: j.duty.Session, Step: j.ack,
	})
	if res.ack != nil && ctx.Err() == nil {
		d.c.Logger.Debug("acknowledgement failed and will be sent again", "partition", j.transition.PartitionID, "error", res.ack)
	}
	return res
}

// callAll calls every hook that the duty concerns, until one fails. A hook
// that was superseded has not succeeded, whatever it returned: its data may be
// of a session that is over.
func (d *Dispatcher) callAll(ctx context.Context, j job, res *result) {
	for _, f := range j.transitions {
		tr := j.transition // each hook gets nodes of its own
		tr.Sources = slices.Clone(tr.Sources)
		for i := range tr.Sources {
			tr.Sources[i] = *copyNode(&tr.Sources[i])
		}
		if res.err = cmp.Or(d.call(func() error { return f(ctx, tr) }), ctx.Err()); res.err != nil {
			return
		}
		res.transitions++
	}
	for _, f := range j.changes {
		var from *topology.Node
		if len(j.transition.Sources) > 0 {
			from = copyNode(&j.transition.Sources[0])
		}
		err := d.call(func() error { f(j.transition.PartitionID, from, copyNode(j.target)); return nil })
		if res.err = cmp.Or(err, ctx.Err()); res.err != nil {
			return
		}
		res.changes++
	}
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
	err = errExited // what the counters see if f never returns
	err = f()
	return err
}

// copyNode returns a node that user code may write to.
func copyNode(n *topology.Node) *topology.Node {
	if n == nil {
		return nil
	}
	c := *n
	c.Services = maps.Clone(n.Services)
	return &c
}
