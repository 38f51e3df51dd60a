package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/skshohagmiah/clusterkit/topology"
)

// job is one delivery, decided under the lock and carried out without it.
type job struct {
	partition   int
	duty        topology.Duty
	call        bool // the duty, or a hook, is new: call the hooks
	ack         topology.AckStep
	detail      string          // of an AckFailed
	durable     <-chan struct{} // closed when it is on disk that the duty has begun; nil: need not be
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
	ended                bool  // its context had: superseded, or the node stops
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
		res.ended = ctx.Err() != nil
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
		b.unmarked(d.c.Cursor, i)
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
	if hooked {
		b.marked(d.c.Cursor, j.partition, j.duty.Role)
		j.durable = b.mark.durable
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

// mark is the cursor's note that a role is about to be handed out for the
// first time; zero for none.
type mark struct {
	role    topology.Role
	durable <-chan struct{} // closed when it is on disk
}

// markAhead marks a partition that is queued, so that all that wait for a slot
// share one write to disk. The caller holds mu.
func (d *Dispatcher) markAhead(i int, b *box) {
	if i >= len(d.topology.Partitions) {
		return
	}
	duty := d.duty(d.topology.Partitions[i])
	if transitions, changes := pending(duty, d.transitions, d.changes); len(transitions)+len(changes) > 0 {
		b.marked(d.c.Cursor, i, duty.Role)
	}
}

// marked marks a role, unless the cursor knows of one that is older: its end
// will be told anyhow.
func (b *box) marked(c Cursor, i int, role topology.Role) {
	held := b.delivered.Role != topology.RoleNone || b.begun != (topology.Duty{})
	if held || role == topology.RoleNone || b.mark.role == role {
		return
	}
	// Of no incarnation: differs from any duty.
	b.mark = mark{role, c.Save(i, topology.Duty{Role: role})}
}

// unmarked takes the mark of a role back that was never handed out.
func (b *box) unmarked(c Cursor, i int) {
	if b.mark.role != "" && b.delivered.Role == topology.RoleNone && b.begun == (topology.Duty{}) {
		c.Save(i, topology.Duty{Role: topology.RoleNone})
	}
	b.mark = mark{}
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
	b.failing, b.gaveUp = time.Time{}, ""
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
	if b.gaveUp != "" {
		j.call, j.ack, j.detail = false, topology.AckFailed, b.gaveUp
	}
	if len(d.changes) == 0 {
		return
	}
	j.listeners = slices.Clone(d.changes)
	now := copies(t, p, d.c.NodeID, true, true)
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
	if res.err != nil && !res.ended { // what nobody wants any more may fail
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
		if d.giveUp(b, j, res.err) {
			return true
		}
		d.later(j.partition, b, pauseBefore(b.attempt))
		return false
	}
	if j.call {
		b.delivered, b.begun, b.resumed, b.attempt, b.since = j.duty, topology.Duty{}, false, 0, time.Time{}
		b.mark = mark{}
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

// giveUp decides whether a copy has failed for good: too often and for too
// long, although there was somebody to copy from. (A partition without such a
// node is offline; when it is not any more, its copies are of a new session,
// and what failed meanwhile does not count.) Other duties are tried for ever:
// nobody else can do them. The caller holds mu.
func (d *Dispatcher) giveUp(b *box, j job, err error) bool {
	if b.failing.IsZero() {
		b.failing = time.Now()
	}
	if j.duty.Role != topology.RoleLearner || len(j.transition.Sources) == 0 ||
		b.attempt < d.c.GiveUpAttempts || time.Since(b.failing) < d.c.GiveUpAfter {
		return false
	}
	b.gaveUp = problem(err)
	d.stats.GivenUp++
	return true
}

// problem makes an error's text fit for the topology: one line, printable, not
// long, and never empty.
func problem(err error) string {
	const most = 256
	text, _, _ := strings.Cut(err.Error(), "\n")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
	for len(text) > most {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return cmp.Or(text, "the hook failed")
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
	return d/2 + rand.N(d/2+1) //#nosec G404 -- jitter is no secret
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
	if j.durable != nil {
		// A copy that was begun may leave data behind: after a crash its end
		// must be told, so the beginning is on disk before the first call.
		select {
		case <-j.durable:
		case <-ctx.Done():
			res.err = ctx.Err()
			return res
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
		Partition: j.partition, Node: d.c.NodeID, Incarnation: d.c.Incarnation, Session: j.duty.Session, Step: j.ack, Detail: j.detail,
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
		tr := j.transition.clone()
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
