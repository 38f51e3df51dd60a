package bbolt

import (
	"bytes"
	"maps"
	"slices"

	bbolterrors "go.etcd.io/bbolt/errors"
)

// Tx is a transaction, for one goroutine.
type Tx struct {
	db       *DB
	content  *content
	writable bool
	done     bool
	buckets  map[string]*bucket // the transaction's own once it has written
	own      bool
}

// bucket is a sorted list of keys and values.
type bucket struct{ pairs []pair }

type pair struct{ key, value []byte }

func (b *bucket) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(b.pairs, key, func(p pair, key []byte) int { return bytes.Compare(p.key, key) })
}

// Bucket returns a bucket, or nil.
func (tx *Tx) Bucket(name []byte) *Bucket {
	if tx.buckets[string(name)] == nil {
		return nil
	}
	return &Bucket{tx: tx, name: string(name)}
}

// CreateBucketIfNotExists returns a bucket that exists.
func (tx *Tx) CreateBucketIfNotExists(name []byte) (*Bucket, error) {
	if !tx.writable {
		return nil, bbolterrors.ErrTxNotWritable
	}
	if tx.buckets[string(name)] == nil {
		tx.write(string(name))
	}
	return tx.Bucket(name), nil
}

// DeleteBucket removes a bucket.
func (tx *Tx) DeleteBucket(name []byte) error {
	switch {
	case !tx.writable:
		return bbolterrors.ErrTxNotWritable
	case tx.buckets[string(name)] == nil:
		return bbolterrors.ErrBucketNotFound
	case !tx.own:
		tx.buckets, tx.own = maps.Clone(tx.buckets), true
	}
	delete(tx.buckets, string(name))
	return nil
}

// write returns a bucket that belongs to this transaction alone.
func (tx *Tx) write(name string) *bucket {
	if !tx.own {
		tx.buckets, tx.own = maps.Clone(tx.buckets), true
	}
	b := new(bucket)
	if before := tx.buckets[name]; before != nil {
		b.pairs = slices.Clone(before.pairs)
	}
	tx.buckets[name] = b
	return b
}

// ForEach calls f for every bucket, in order.
func (tx *Tx) ForEach(f func(name []byte, b *Bucket) error) error {
	for _, name := range slices.Sorted(maps.Keys(tx.buckets)) {
		if err := f([]byte(name), tx.Bucket([]byte(name))); err != nil {
			return err
		}
	}
	return nil
}

// Size is 0: there are no pages.
func (tx *Tx) Size() int64 { return 0 }

// Check finds nothing wrong.
func (tx *Tx) Check() <-chan error {
	none := make(chan error)
	close(none)
	return none
}

// Commit makes everything that was written visible at once.
func (tx *Tx) Commit() error {
	switch {
	case tx.done:
		return bbolterrors.ErrTxClosed
	case !tx.writable:
		return bbolterrors.ErrTxNotWritable
	}
	tx.content.mu.Lock()
	tx.content.buckets = tx.buckets
	tx.content.mu.Unlock()
	return tx.Rollback()
}

// Rollback ends the transaction and forgets what Commit has not made visible.
func (tx *Tx) Rollback() error {
	if tx.done {
		return bbolterrors.ErrTxClosed
	}
	tx.done = true
	if tx.writable {
		tx.db.writer.Unlock()
	}
	return nil
}

// Bucket is one bucket as a transaction sees it.
type Bucket struct {
	tx   *Tx
	name string
	own  *bucket // once this Bucket has written
}

func (b *Bucket) now() *bucket { return b.tx.buckets[b.name] }

// writing returns the bucket for a change; the first one copies it.
func (b *Bucket) writing() (*bucket, error) {
	if !b.tx.writable {
		return nil, bbolterrors.ErrTxNotWritable
	}
	if b.own == nil || b.own != b.now() {
		b.own = b.tx.write(b.name)
	}
	return b.own, nil
}

// Get returns a value, or nil.
func (b *Bucket) Get(key []byte) []byte {
	i, found := b.now().find(key)
	if !found {
		return nil
	}
	return b.now().pairs[i].value
}

// Put sets a value.
func (b *Bucket) Put(key, value []byte) error {
	w, err := b.writing()
	if err != nil {
		return err
	}
	p := pair{bytes.Clone(key), append(make([]byte, 0, len(value)), value...)} // never nil
	if i, found := w.find(key); found {
		w.pairs[i] = p
	} else {
		w.pairs = slices.Insert(w.pairs, i, p)
	}
	return nil
}

// Delete removes a key if it is there.
func (b *Bucket) Delete(key []byte) error {
	w, err := b.writing()
	if err != nil {
		return err
	}
	if i, found := w.find(key); found {
		w.pairs = slices.Delete(w.pairs, i, i+1)
	}
	return nil
}

// ForEach calls f for every key in order; f must not change the bucket.
func (b *Bucket) ForEach(f func(key, value []byte) error) error {
	for _, p := range b.now().pairs {
		if err := f(p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}

// Cursor returns a cursor over the bucket.
func (b *Bucket) Cursor() *Cursor { return &Cursor{b: b} }

// Cursor walks a bucket in order. It remembers a key, not a place, so that
// deletions under it do no harm.
type Cursor struct {
	b   *Bucket
	key []byte // where it stands; nil: nowhere
}

func (c *Cursor) at(i int) (key, value []byte) {
	pairs := c.b.now().pairs
	if i < 0 || i >= len(pairs) {
		c.key = nil
		return nil, nil
	}
	c.key = pairs[i].key
	return pairs[i].key, pairs[i].value
}

// First goes to the first key and returns it, or nil.
func (c *Cursor) First() (key, value []byte) { return c.at(0) }

// Last goes to the last key and returns it, or nil.
func (c *Cursor) Last() (key, value []byte) { return c.at(len(c.b.now().pairs) - 1) }

// Seek goes to the given key, or to the one behind its place, or returns nil.
func (c *Cursor) Seek(key []byte) (k, value []byte) {
	i, _ := c.b.now().find(key)
	return c.at(i)
}

// Next goes to the key behind, or returns nil.
func (c *Cursor) Next() (key, value []byte) {
	if c.key == nil {
		return nil, nil
	}
	i, found := c.b.now().find(c.key)
	if found {
		i++
	}
	return c.at(i)
}

// Delete removes the key under the cursor.
func (c *Cursor) Delete() error { return c.b.Delete(c.key) }
