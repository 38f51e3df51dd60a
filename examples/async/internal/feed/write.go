package feed

import (
	"fmt"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// maxLagging is how long an in-sync replica may hold up writes.
const maxLagging = time.Second

// job is one section of a request to write.
type job struct {
	section proto.Section
	count   int // of its operations
	part    *partition
	epoch   uint64 // in which it was admitted; 0 if it was not
	last    uint64 // its last number
	result  proto.Result
}

// request is a KindWrite with its sections.
type request struct {
	id   uint64
	jobs []*job
}

// write carries out requests that arrived together: one batch for the store,
// and one wait for the disk.
func (n *Node) write(batch []wire.Message, reply wire.Reply) {
	requests := make([]request, 0, len(batch))
	var jobs []*job
	for _, m := range batch {
		r, err := n.decodeWrite(m)
		if err != nil {
			reply(m.ID, proto.Failed, []byte(err.Error()))
			continue
		}
		requests, jobs = append(requests, r), append(jobs, r.jobs...)
	}
	commit, err := n.admit(jobs)
	if err != nil {
		n.c.Logger.Error("cannot store writes", "error", err)
		answer(requests, reply)
		return
	}
	if commit == nil { // nothing was admitted: there is no disk to wait for
		answer(requests, reply)
		return
	}
	if n.c.AnswerEarly {
		n.confirm(jobs)
		answer(requests, reply)
	}
	n.landing.Add(1)
	finish := func() {
		err := commit.Wait()
		n.landing.Add(-1)
		if n.c.AnswerEarly {
			if err == nil {
				landed(jobs)
			}
			return
		}
		if n.confirm(jobs); err != nil {
			fail(jobs, err)
		}
		answer(requests, reply)
	}
	if !n.spawn(finish) {
		finish()
	}
}

func (n *Node) decodeWrite(m wire.Message) (request, error) {
	sections, err := proto.DecodeSections(m.Body)
	if err != nil {
		return request{}, err
	}
	r := request{id: m.ID, jobs: make([]*job, len(sections))}
	all := make([]job, len(sections))
	for k, s := range sections {
		j := &all[k]
		j.section = s
		if j.count, err = ops.Count(s.Ops); err != nil {
			return request{}, err
		}
		if j.part, err = n.part(s.Partition); err != nil {
			return request{}, err
		}
		r.jobs[k] = j
	}
	return r, nil
}

// admit gives numbers to the writes of the jobs that this node is the primary
// for, and makes them visible; nil when there are none. The result of every
// other job says why not.
func (n *Node) admit(jobs []*job) (*store.Commit, error) {
	parts := lock(jobs)
	defer unlock(parts)
	t := n.c.Cluster.Snapshot()
	groups := make([]store.Group, 0, len(jobs))
	admitted := make([]*job, 0, len(jobs))
	for _, j := range jobs {
		if j.result = n.refuse(t, j); j.result.Status != proto.OK || j.count == 0 {
			continue
		}
		p := j.part
		j.epoch = p.opened
		groups = append(groups, store.Group{
			Partition: p.index, Epoch: p.opened, First: p.planned + 1, Last: p.planned + uint64(j.count), Ops: j.section.Ops, //#nosec G115 -- a count is not negative
		})
		p.planned += uint64(j.count) //#nosec G115 -- a count is not negative
		j.last = p.planned
		admitted = append(admitted, j)
	}
	if len(groups) == 0 {
		return nil, nil
	}
	commit, err := n.c.Store.Append(groups, nil)
	if err != nil {
		fail(admitted, err)
		return nil, err
	}
	for k, j := range admitted {
		j.part.push(groups[k])
		n.counts.writes.Add(uint64(j.count)) //#nosec G115 -- a count is not negative
	}
	return &commit, nil
}

// refuse returns OK for a job that this node may carry out. The caller holds
// the partition's lock.
func (n *Node) refuse(t *clusterkit.Topology, j *job) proto.Result {
	if uint64(j.count) > n.c.MaxLag { //#nosec G115 -- a count is not negative
		return proto.Result{Status: proto.Failed, Text: fmt.Sprintf("%d writes to a partition in one request: send at most %d (MAX_LAG)", j.count, n.c.MaxLag)}
	}
	if _, err := n.serving(j.part); err != nil {
		hint := t.Partitions[j.part.index].Primary
		if hint == n.me() {
			hint = ""
		}
		return proto.Result{Status: proto.NotPrimary, Text: hint}
	}
	if j.count > 0 && n.lagging(j.part, uint64(j.count)) {
		n.counts.refused.Add(uint64(j.count))
		return proto.Result{Status: proto.Busy}
	}
	return proto.Result{Status: proto.OK}
}

// lagging reports whether more writes would leave a replica that counts too far
// behind. One that stays so is taken out of the in-sync set, so that writes go
// on without it, and it cannot be promoted. The caller holds the partition's lock.
func (n *Node) lagging(p *partition, more uint64) bool {
	more += p.planned - p.end.Sequence
	// What is acknowledged and not on disk can be lost as well.
	too := n.c.AnswerEarly && p.end.Sequence-p.durable+more > n.c.MaxLag
	for id, f := range p.followers {
		switch lag := p.behind(f); {
		case !f.counted:
		case lag <= n.c.MaxLag && lag+more <= n.c.MaxLag:
			f.over = 0
		case f.over == 0:
			f.over, too = n.clock(), true
		default:
			if too = true; n.clock()-f.over > maxLagging {
				n.markOut(p, id, f, "it lags too far behind")
			}
		}
	}
	return too
}

// landed takes note that the writes of jobs are on disk.
func landed(jobs []*job) {
	for _, j := range jobs {
		j.part.mu.Lock()
		if j.epoch != 0 && j.epoch == j.part.opened {
			j.part.durable = max(j.part.durable, j.last)
		}
		j.part.mu.Unlock()
	}
}

// confirm looks once more, before the answer, whether the role was kept: after
// a failover only the new primary can say what there is.
func (n *Node) confirm(jobs []*job) {
	if n.c.left.oneLook {
		return
	}
	t := n.c.Cluster.Snapshot()
	for _, j := range jobs {
		if j.epoch == 0 {
			continue
		}
		if now := t.Partitions[j.part.index]; now.Epoch != j.epoch || !n.leads(t, j.part.index) {
			j.result = proto.Result{Status: proto.Unknown}
		}
	}
}

func fail(jobs []*job, err error) {
	for _, j := range jobs {
		j.result = proto.Result{Status: proto.Failed, Text: err.Error()}
	}
}

func answer(requests []request, reply wire.Reply) {
	for _, r := range requests {
		var body []byte
		for _, j := range r.jobs {
			body = proto.AppendResult(body, j.result)
		}
		reply(r.id, proto.OK, body)
	}
}

// lock locks the partitions of jobs, in the order of their index so that two
// callers cannot lock each other out.
func lock(jobs []*job) []*partition {
	parts := make([]*partition, 0, len(jobs))
	for _, j := range jobs {
		parts = append(parts, j.part)
	}
	return lockAll(parts)
}

func lockAll(parts []*partition) []*partition {
	slices.SortFunc(parts, func(a, b *partition) int { return a.index - b.index })
	parts = slices.Compact(parts)
	for _, p := range parts {
		p.mu.Lock()
		p.planned = p.end.Sequence
	}
	return parts
}

func unlock(parts []*partition) {
	for _, p := range parts {
		p.mu.Unlock()
	}
}

// leads reports whether the topology names this node as primary, its lease
// holds, and no move has revoked it.
func (n *Node) leads(t *clusterkit.Topology, i int) bool {
	now := t.Partitions[i]
	return !n.retired.Load() && n.c.Cluster.IsPrimary(now) && now.Serving() == n.me()
}

// serving returns nil when this node is the primary of the partition now, in
// an epoch that it has opened; otherwise it has it opened, if it is to be, and
// returns a channel that is closed when the attempt has ended. The caller
// holds the partition's lock.
func (n *Node) serving(p *partition) (opening <-chan struct{}, err error) {
	t := n.c.Cluster.Snapshot()
	now := t.Partitions[p.index]
	if !n.leads(t, p.index) || !p.raise(now.Epoch) {
		return nil, errNotPrimary
	}
	if p.opened != now.Epoch {
		return n.open(p, now.Epoch), errNotPrimary
	}
	return nil, nil
}
