package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Checksums of single entries do not tell that the last ones are missing, and
// nothing else in the log would: raft would take the shorter log for all there
// ever was, although others count on what this node has acknowledged. So every
// write of entries also writes, in the same transaction, a row behind all
// entries that says which is the last one.
//
// Entries behind that one are left over from a truncation that was interrupted:
// the row is written first.

// tailIndex is the key of the row; no log gets that far.
const tailIndex = math.MaxUint64

// The stable store holds what raft keeps there, and three values of its own.
// verify refuses a log with any other key: a name that is no longer the one
// that was written is a vote forgotten.
var (
	// keyUUID binds the log file to the identity beside it.
	keyUUID = []byte("clusterkit.uuid")
	// keyForm is there once terms and votes are sealed and the tail is written.
	keyForm = []byte("clusterkit.form")
	// keySnapshot is the index of the newest snapshot that was completed.
	keySnapshot = []byte("clusterkit.snapshot")

	// keyTerm, keyVoteTerm and keyVotedFor are raft's.
	keyTerm     = []byte("CurrentTerm")
	keyVoteTerm = []byte("LastVoteTerm")
	keyVotedFor = []byte("LastVoteCand")
)

// form is the value of keyForm.
const form = 2

var errLostTail = errors.New("the row that says where the log ends is missing")

// tailRow returns the row for a log that ends with last.
func tailRow(last uint64) *raft.Log {
	return seal(&raft.Log{Index: tailIndex, Type: raft.LogNoop, Data: binary.BigEndian.AppendUint64(nil, last)})
}

// first returns the first entry's index, or 0.
func (d *disk) first() (uint64, error) {
	index, err := d.below.FirstIndex()
	if index == tailIndex {
		index = 0
	}
	return index, err
}

// adopt reads where the log ends, and brings a log of the first form into the
// present one, unless it may only be read. It is called before any other method.
func (d *disk) adopt(readOnly bool) error {
	return d.protect(func() error {
		is, err := d.number(keyForm)
		old := errors.Is(err, raftboltdb.ErrKeyNotFound)
		if err != nil && !old {
			return fmt.Errorf("%s: %w", keyForm, err)
		}
		if is > form {
			return fmt.Errorf("the log has form %d, this version knows %d: upgrade this node", is, form)
		}
		last, err := d.below.LastIndex()
		switch {
		case err != nil:
			return err
		case last == tailIndex:
			if last, err = d.readTail(); err != nil {
				return err
			}
			d.tail.Store(last)
			if !readOnly {
				err = d.finishTruncation(last)
			}
		case !old:
			return errLostTail
		default:
			d.tail.Store(last)
		}
		if err != nil || !old {
			return err
		}
		if readOnly {
			d.plain = true
			return nil
		}
		return d.renew()
	})
}

func (d *disk) readTail() (uint64, error) {
	var l raft.Log
	if err := d.below.GetLog(tailIndex, &l); err != nil {
		return 0, err
	}
	if err := unseal(tailIndex, &l); err != nil {
		return 0, fmt.Errorf("the row that says where the log ends: %w", err)
	}
	if len(l.Data) != 8 {
		return 0, errLostTail
	}
	return binary.BigEndian.Uint64(l.Data), nil
}

// finishTruncation removes what stands behind the last entry.
func (d *disk) finishTruncation(last uint64) error {
	if err := d.below.GetLog(last+1, new(raft.Log)); errors.Is(err, raft.ErrLogNotFound) {
		return nil
	}
	return d.below.DeleteRange(last+1, tailIndex-1)
}

// renew brings a log of the first form into the present one. keyForm comes
// last: interrupted, it begins again.
func (d *disk) renew() error {
	for _, key := range [][]byte{keyTerm, keyVoteTerm, keyVotedFor} {
		b, err := d.below.Get(key)
		if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := unsealValue(key, b); err == nil {
			continue // done before an interruption
		}
		if err := d.below.Set(key, sealValue(key, b)); err != nil {
			return err
		}
	}
	if err := d.below.StoreLogs([]*raft.Log{tailRow(d.tail.Load())}); err != nil {
		return err
	}
	return d.below.Set(keyForm, sealValue(keyForm, binary.BigEndian.AppendUint64(nil, form)))
}

// retreat notes, before entries from first on are deleted, that the log ends
// with the one before.
func (d *disk) retreat(first uint64) error {
	begin, err := d.first()
	if err != nil {
		return err
	}
	last := first - 1
	// There may be a gap before first, which a snapshot has filled.
	for ; last >= begin && last > 0; last-- {
		if err := d.below.GetLog(last, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			break // what it holds is not asked here
		}
	}
	if last < begin {
		last = 0
	}
	if err := d.below.StoreLogs([]*raft.Log{tailRow(last)}); err != nil {
		return err
	}
	d.tail.Store(last)
	return nil
}

// whole verifies that every entry after index is there, undamaged, up to the
// end of the log (those before may be missing, but not be damaged), and so are
// the term and the vote.
func (d *disk) whole(index uint64) error {
	return d.protect(func() error {
		begin, err := d.first()
		if err != nil || begin == 0 && index == 0 {
			return err
		}
		if begin == 0 {
			begin = index + 1
		}
		term := uint64(0)
		for i := begin; i <= d.tail.Load(); i++ {
			var l raft.Log
			err := d.below.GetLog(i, &l)
			if errors.Is(err, raft.ErrLogNotFound) && i <= index {
				continue
			}
			if err == nil {
				err = unseal(i, &l)
			}
			if err != nil {
				return fmt.Errorf("entry %d of a log that ends with %d: %w", i, d.tail.Load(), err)
			}
			term = l.Term
		}
		if begin > index+1 {
			return fmt.Errorf("the log begins with entry %d, and there is no sound snapshot that ends with %d or later", begin, begin-1)
		}
		current, err := d.number(keyTerm)
		if err != nil {
			return fmt.Errorf("%s: %w", keyTerm, err)
		}
		for _, key := range [][]byte{keyVoteTerm, keyVotedFor} {
			if _, err := d.value(key); err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		if current < term {
			return fmt.Errorf("%s is %d, although the last entry is of term %d", keyTerm, current, term)
		}
		return nil
	})
}
