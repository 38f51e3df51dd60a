package store

import (
	"bytes"
	"sync"
)

const (
	// recentRecords is how many records are remembered, at least.
	recentRecords = 16 << 10
	// recentBytes is the largest value that is.
	recentBytes = 1 << 10
)

// cell names a record.
type cell struct {
	partition int
	key       string
}

// recent remembers what was written or read lately: pebble looks through
// several levels for every version that a write is compared with. A nil recent
// remembers nothing.
type recent struct {
	mu         sync.Mutex
	young, old map[cell]Record // old is what young was, one generation ago
}

func newRecent() *recent { return &recent{young: make(map[cell]Record)} }

// find returns what is remembered. The value must not be changed.
func (c *recent) find(partition int, key string) (Record, bool) {
	if c == nil {
		return Record{}, false
	}
	k := cell{partition, key}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.young[k]
	if !ok {
		if r, ok = c.old[k]; ok {
			c.keep(k, r)
		}
	}
	return r, ok
}

// note remembers what is stored now.
func (c *recent) note(r *Record) {
	if c == nil {
		return
	}
	k := cell{r.Partition, r.Key}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(r.Value) > recentBytes {
		delete(c.young, k)
		delete(c.old, k)
		return
	}
	kept := *r
	kept.Value = bytes.Clone(r.Value) // the caller's may be part of a message
	c.keep(k, kept)
}

func (c *recent) keep(k cell, r Record) {
	if c.young[k] = r; len(c.young) >= recentRecords {
		c.young, c.old = make(map[cell]Record), c.young
	}
}

// forget drops everything.
func (c *recent) forget() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old = make(map[cell]Record), nil
}
