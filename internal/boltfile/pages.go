//go:build !wasip1

package boltfile

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
)

// The form of the pages of bbolt's trees, by its internal/common: behind the
// header stand elements of 16 bytes, one for each key, which say where its bytes
// are from there on.
const (
	metaRoot     = 16
	metaPages    = 40 // how many pages are in use or were
	pageFlags    = 8
	branchPage   = 0x01
	leafPage     = 0x02
	elementBytes = 16
	leafPos      = 4 // of a leaf's element; its flags come first
	leafKey      = 8
	leafValue    = 12
	branchPos    = 0 // of a branch's element
	branchKey    = 4
	branchChild  = 8
	bucketLeaf   = 0x01 // the flag of a leaf's element whose value is a bucket
	bucketHeader = 16   // its root, 0 when that page follows in the value, and a counter
)

// VerifyPages verifies that all pages that bbolt reaches from the last transaction
// are of its trees, lie within the file and are reached once, and that what they
// say they hold lies within them: bbolt makes room for all keys that a page says
// it has, and reads where it says they are. It reads those pages once. A file that
// is missing, empty or without a valid description of a transaction is left to
// bbolt. The file must not be written to meanwhile.
func VerifyPages(path string) error {
	return look(path, func(file *os.File) error {
		last := lastMeta(file)
		if last == nil {
			return nil
		}
		st, err := file.Stat()
		if err != nil {
			return err
		}
		t := tree{file: file, size: uint64(binary.NativeEndian.Uint32(last[metaSize:])), pages: binary.NativeEndian.Uint64(last[metaPages:])}
		if has := uint64(st.Size()) / t.size; has < t.pages { //#nosec G115 -- a size is not negative
			return fmt.Errorf("the file has %d pages and should have %d", has, t.pages)
		}
		t.seen = make([]uint64, t.pages/64+1)
		t.next = append(t.next, binary.NativeEndian.Uint64(last[metaRoot:]))
		for len(t.next) > 0 {
			id := t.next[len(t.next)-1]
			t.next = t.next[:len(t.next)-1]
			if err := t.visit(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// tree is a walk over the pages of a file.
type tree struct {
	file  *os.File
	size  uint64 // of a page
	pages uint64
	seen  []uint64 // a bit for each page
	next  []uint64 // pages to visit
	buf   []byte
}

// visit verifies a page and what it overflows into, and notes those that it names.
func (t *tree) visit(id uint64) error {
	if id < 2 || id >= t.pages {
		return fmt.Errorf("page %d of %d is named as one of a tree", id, t.pages)
	}
	var head [pageHeader]byte
	if _, err := t.file.ReadAt(head[:], t.offset(id)); err != nil {
		return err
	}
	run := 1 + uint64(binary.NativeEndian.Uint32(head[pageOverflow:]))
	if own := binary.NativeEndian.Uint64(head[:]); own != id || run > t.pages-id {
		return fmt.Errorf("page %d says that it is page %d and has %d of the %d pages", id, own, run, t.pages)
	}
	for i := id; i < id+run; i++ {
		if bit := uint64(1) << (i % 64); t.seen[i/64]&bit != 0 {
			return fmt.Errorf("page %d is named twice", i)
		} else {
			t.seen[i/64] |= bit
		}
	}
	if need := run * t.size; uint64(len(t.buf)) < need {
		t.buf = make([]byte, 1<<bits.Len64(need-1))
	}
	b := t.buf[:run*t.size]
	if _, err := t.file.ReadAt(b, t.offset(id)); err != nil {
		return err
	}
	if err := t.elements(b, false); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (t *tree) offset(id uint64) int64 { return int64(id * t.size) } //#nosec G115 -- it lies within the file

// elements verifies what the bytes of a page hold: a leaf without buckets when it
// is the page of a bucket that is a value.
func (t *tree) elements(b []byte, inValue bool) error {
	flags, count := binary.NativeEndian.Uint16(b[pageFlags:]), int(binary.NativeEndian.Uint16(b[pageCount:]))
	if flags != leafPage && (flags != branchPage || inValue) {
		return fmt.Errorf("it is of no tree: its flags are %#x", flags)
	}
	if pageHeader+count*elementBytes > len(b) {
		return fmt.Errorf("%d keys do not fit into its %d bytes", count, len(b))
	}
	for i := range count {
		e := b[pageHeader+i*elementBytes:]
		at, key, value := binary.NativeEndian.Uint32(e[branchPos:]), binary.NativeEndian.Uint32(e[branchKey:]), uint32(0)
		if flags == leafPage {
			at, key, value = binary.NativeEndian.Uint32(e[leafPos:]), binary.NativeEndian.Uint32(e[leafKey:]), binary.NativeEndian.Uint32(e[leafValue:])
		}
		from, to := uint64(at)+uint64(key), uint64(at)+uint64(key)+uint64(value)
		if key == 0 || uint64(at) < uint64(count-i)*elementBytes || to > uint64(len(e)) { //#nosec G115 -- a count below 65,536
			return fmt.Errorf("key %d of %d, with %d bytes and a value of %d, does not lie in it", i, count, key, value)
		}
		switch {
		case flags == branchPage:
			t.next = append(t.next, binary.NativeEndian.Uint64(e[branchChild:]))
		case binary.NativeEndian.Uint32(e)&bucketLeaf != 0:
			if inValue {
				return fmt.Errorf("key %d of %d is a bucket", i, count)
			}
			if err := t.bucket(e[from:to]); err != nil {
				return fmt.Errorf("bucket %d of %d: %w", i, count, err)
			}
		}
	}
	return nil
}

// bucket verifies a value that is a bucket.
func (t *tree) bucket(b []byte) error {
	if len(b) < bucketHeader {
		return fmt.Errorf("it has %d bytes", len(b))
	}
	if root := binary.NativeEndian.Uint64(b); root != 0 {
		t.next = append(t.next, root)
		return nil
	}
	page := b[bucketHeader:]
	if len(page) < pageHeader {
		return fmt.Errorf("its page has %d bytes", len(page))
	}
	return t.elements(page, true)
}
