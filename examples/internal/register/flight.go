package register

import (
	"sync"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// cellKey names a register.
type cellKey struct {
	partition int
	key       string
}

// flight is a group of records on their way to the disk.
type flight struct {
	done chan struct{}
	err  error // valid once done is closed
}

// flights knows which records can be seen and are not on disk yet: nobody may
// be told of one before it cannot be lost any more.
type flights struct {
	mu sync.Mutex
	of map[cellKey]*flight // the last one for each
}

// begin announces records, before they can be seen.
func (f *flights) begin(records []store.Record) *flight {
	fl := &flight{done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range records {
		f.of[cellKey{records[i].Partition, records[i].Key}] = fl
	}
	return fl
}

// end says what became of them.
func (f *flights) end(fl *flight, records []store.Record, err error) {
	fl.err = err
	close(fl.done)
	if err != nil {
		return // whoever reads them must go on failing
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range records {
		k := cellKey{records[i].Partition, records[i].Key}
		if f.of[k] == fl {
			delete(f.of, k)
		}
	}
}

// find returns what a reader that has seen the key's record must wait for; nil
// when it is on disk.
func (f *flights) find(partition int, key string) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[cellKey{partition, key}]
}
