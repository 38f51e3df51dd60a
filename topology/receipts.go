package topology

// maxReceipts is how many outcomes are kept: many times the number of commits
// that can be in flight at once (64).
const maxReceipts = 256

// receiptChunk is how many outcomes are copied at most when one is added. A node
// remembers a thousand versions, and each with a copy of all 256 took 10 MB.
const receiptChunk = 16

// Receipt is the outcome of one applied entry.
type Receipt struct {
	ID      string
	Index   uint64
	Changed bool
}

// receipts are the outcomes of the last entries, oldest first, so that a caller
// whose commit ended as unknown can learn what became of it. A value is never
// written again; successive ones share all chunks but the last.
type receipts struct {
	full [][]Receipt // chunks of receiptChunk
	last []Receipt   // fewer than receiptChunk
}

// receiptsOf returns the receipts of a list.
func receiptsOf(list []Receipt) (r receipts) {
	for ; len(list) >= receiptChunk; list = list[receiptChunk:] {
		r.full = append(r.full, list[:receiptChunk:receiptChunk])
	}
	if len(list) > 0 {
		r.last = list
	}
	return r
}

// with returns the receipts with one more.
func (r receipts) with(one Receipt) receipts {
	last := make([]Receipt, len(r.last)+1)
	copy(last, r.last)
	last[len(r.last)] = one
	if len(last) < receiptChunk {
		return receipts{full: r.full, last: last}
	}
	full := r.full
	if len(full) == maxReceipts/receiptChunk {
		full = full[1:]
	}
	return receipts{full: append(full[:len(full):len(full)], last)}
}

// held is how many outcomes there are; the oldest of them may be one too many.
func (r receipts) held() int { return len(r.full)*receiptChunk + len(r.last) }

// list returns the last maxReceipts outcomes, nil when there are none. The
// caller owns it.
func (r receipts) list() []Receipt {
	if r.held() == 0 {
		return nil
	}
	all := make([]Receipt, 0, r.held())
	for _, chunk := range r.full {
		all = append(all, chunk...)
	}
	all = append(all, r.last...)
	return all[max(0, len(all)-maxReceipts):]
}

// Receipt returns the outcome of the entry with the given id, if it is among
// the last 256 applied.
func (t *Topology) Receipt(id string) (Receipt, bool) {
	left := maxReceipts
	look := func(chunk []Receipt) (Receipt, bool) {
		for i := len(chunk) - 1; i >= 0 && left > 0; i, left = i-1, left-1 {
			if chunk[i].ID == id {
				return chunk[i], true
			}
		}
		return Receipt{}, false
	}
	if r, ok := look(t.receipts.last); ok {
		return r, true
	}
	for i := len(t.receipts.full) - 1; i >= 0; i-- {
		if r, ok := look(t.receipts.full[i]); ok {
			return r, true
		}
	}
	return Receipt{}, false
}
