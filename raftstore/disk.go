package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// lockWait bounds the wait for a log that another process still holds: a
// predecessor that is just ending.
const lockWait = 2 * time.Second

// dbMode is for the owner only: the log holds every address of the cluster.
const dbMode = 0o600

const remedy = "stop this node, check its disk, and wipe the whole DataDir to rejoin as a new node"

// logStore is what raft needs of a disk.
type logStore interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

var (
	_ logStore = (*raftboltdb.BoltStore)(nil)
	_ logStore = (*disk)(nil)
)

// disk is a logStore that trusts the one below it with nothing: entries, terms
// and votes carry a checksum, the end of the log is written down (see tail.go),
// panics of bbolt become errors, and an error stops the node (see guard.stop)
// instead of reaching code in raft that would panic on it.
type disk struct {
	below logStore
	path  string
	g     *guard

	tail  atomic.Uint64 // the last entry, see tail.go
	plain bool          // read-only, and of a form without checksums of terms and votes
}

// newDisk returns the disk over a store that was opened. Errors name the file.
func newDisk(below logStore, path string, g *guard, readOnly bool) (*disk, error) {
	d := &disk{below: below, path: path, g: g}
	if err := d.adopt(readOnly); err != nil {
		return nil, fmt.Errorf("raftstore: read %s: %w", path, err)
	}
	return d, nil
}

// do runs one call to the store below. A missing entry or key is an answer;
// anything else stops this node.
func (d *disk) do(what string, call func() error) error {
	if err := d.g.failure(); err != nil {
		return d.g.stop(err)
	}
	err := d.protect(call)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	return d.g.stop(fmt.Errorf("raftstore: %s in %s: %w: %s", what, d.path, err, remedy))
}

// protect turns a panic or a memory fault in bbolt (a damaged page, a
// truncated mapping) into an error.
func (d *disk) protect(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return call()
}

// FirstIndex implements raft.LogStore.
func (d *disk) FirstIndex() (index uint64, err error) {
	err = d.do("read first index", func() error {
		index, err = d.first()
		return err
	})
	return index, err
}

// LastIndex implements raft.LogStore.
func (d *disk) LastIndex() (index uint64, err error) {
	err = d.do("read last index", func() error {
		if index, err = d.first(); index != 0 {
			index = d.tail.Load()
		}
		return err
	})
	return index, err
}

// GetLog implements raft.LogStore; the checksum is verified and removed.
func (d *disk) GetLog(index uint64, log *raft.Log) error {
	return d.do(fmt.Sprintf("read entry %d", index), func() error {
		if err := d.below.GetLog(index, log); err != nil {
			return err
		}
		return unseal(index, log)
	})
}

// StoreLog implements raft.LogStore.
func (d *disk) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore. The entries given stay as they are: the
// leader sends the very same values to its followers.
func (d *disk) StoreLogs(logs []*raft.Log) error {
	last := logs[len(logs)-1].Index
	sealed := make([]*raft.Log, len(logs), len(logs)+1)
	for i, l := range logs {
		sealed[i] = seal(l)
	}
	sealed = append(sealed, tailRow(last))
	return d.do(fmt.Sprintf("write %d entries from %d", len(logs), logs[0].Index), func() error {
		d.g.beginWrite()
		defer d.g.endWrite()
		if err := d.below.StoreLogs(sealed); err != nil {
			return err
		}
		d.tail.Store(last)
		return nil
	})
}

// DeleteRange implements raft.LogStore.
func (d *disk) DeleteRange(first, last uint64) error {
	return d.do(fmt.Sprintf("delete entries %d to %d", first, last), func() error {
		last = min(last, tailIndex-1)
		if last >= d.tail.Load() {
			if err := d.retreat(first); err != nil {
				return err
			}
		}
		return d.below.DeleteRange(first, last)
	})
}

// Set implements raft.StableStore.
func (d *disk) Set(key, value []byte) error {
	return d.do("write "+string(key), func() error { return d.below.Set(key, sealValue(key, value)) })
}

// completed notes where a snapshot ends.
func (d *disk) completed(index uint64) error {
	return d.SetUint64(keySnapshot, index)
}

// Get implements raft.StableStore.
func (d *disk) Get(key []byte) (value []byte, err error) {
	err = d.do("read "+string(key), func() error {
		value, err = d.value(key)
		return err
	})
	return value, err
}

// value reads and verifies a value.
func (d *disk) value(key []byte) ([]byte, error) {
	b, err := d.below.Get(key)
	if err != nil {
		return nil, err
	}
	v, err := unsealValue(key, b)
	if err != nil && d.plain {
		return b, nil
	}
	return v, err
}

// SetUint64 implements raft.StableStore.
func (d *disk) SetUint64(key []byte, value uint64) error {
	return d.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 implements raft.StableStore.
func (d *disk) GetUint64(key []byte) (value uint64, err error) {
	err = d.do("read "+string(key), func() error {
		value, err = d.number(key)
		return err
	})
	return value, err
}

// number reads and verifies a number.
func (d *disk) number(key []byte) (uint64, error) {
	b, err := d.value(key)
	if err == nil && len(b) != 8 {
		err = fmt.Errorf("%s has %d bytes and should have 8", key, len(b))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// Close closes the store below.
func (d *disk) Close() error {
	if err := d.below.Close(); err != nil {
		return fmt.Errorf("raftstore: close %s: %w", d.path, err)
	}
	return nil
}
