package register

import (
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// answer answers every request that changes nothing.
func (r *Replica) answer(p *part, q *request, id uint64, reply wire.Reply, mayWait bool) {
	p.mu.RLock()
	verdict, config := r.verdict(p, q.number), p.config
	if q.kind == kindConfig && config.Number > 0 {
		p.mu.RUnlock()
		reply(id, answerOK, config.Encode())
		return
	}
	if verdict != answerOK {
		p.mu.RUnlock()
		again := *q // the caller's is reused
		r.refuse(p, verdict, config, id, reply, mayWait, func() { r.answer(p, &again, id, reply, false) })
		return
	}
	synced := p.synced == config.Number
	kind, body, wait := byte(answerOK), []byte(nil), (*flight)(nil)
	var err error
	switch q.kind {
	case kindGet:
		kind, body, wait, err = r.get(q)
	case kindDigest:
		body, err = r.digest(q)
	case kindFetch:
		body, err = r.fetch(q)
	case kindSynced:
		if !synced {
			kind = answerAbsent
		}
	}
	p.mu.RUnlock()
	finish := func() {
		if wait != nil {
			<-wait.done
			err = wait.err
		}
		if err != nil {
			kind, body = answerFailed, []byte(err.Error())
		}
		reply(id, kind, body)
	}
	if wait == nil {
		finish()
	} else if !r.spawn(finish) {
		reply(id, answerBusy, nil)
	}
}

// get returns a record, and what to wait for before it may be told.
func (r *Replica) get(q *request) (kind byte, body []byte, wait *flight, err error) {
	record, ok, err := r.cells.Get(q.partition, q.key)
	if err != nil {
		return answerFailed, nil, nil, err
	}
	if !ok {
		return answerAbsent, nil, nil, nil
	}
	return answerOK, store.AppendRecord(nil, &record), r.flights.find(q.partition, q.key), nil
}

// digest returns a page of records without their values. It need not wait for
// the disk: who copies keeps what it copies on its own.
func (r *Replica) digest(q *request) ([]byte, error) {
	page, err := r.cells.Page(q.partition, q.key, digestKeys)
	return encodeRecords(page), err
}

// fetch returns the records of some keys, or of the first of them.
func (r *Replica) fetch(q *request) ([]byte, error) {
	var b []byte
	for _, key := range q.keys {
		record, ok, err := r.cells.Get(q.partition, key)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if b = store.AppendRecord(b, &record); len(b) >= fetchBytes {
			break
		}
	}
	return b, nil
}
