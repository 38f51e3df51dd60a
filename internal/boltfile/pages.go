//go:build !wasip1

package boltfile

import (
	"encoding/binary"
	"fmt"
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
// are of its trees, lie within the file, are reached once and are not free, and
// that what they say they hold lies within them: bbolt makes room for all keys that
// a page says it has, reads where it says they are, and writes over pages that are
// said to be free. It reads what pages say of their keys, not large values: 60 ms
// for 130 MiB of entries of 256 bytes. A file that is missing, empty or
// without a valid description of a transaction is left to bbolt. The file must not
// be written to meanwhile.
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
		t.seen, t.buf = make([]uint64, t.pages/64+1), make([]byte, t.size)
		if err := t.free(last); err != nil {
			return err
		}
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
	seen  []uint64 // a bit for each page that is free or was visited
	next  []uint64 // pages to visit
	buf   []byte   // the beginning of the page that is visited
}

// free notes the list of free pages, and those that it has.
func (t *tree) free(last []byte) error {
	at := binary.NativeEndian.Uint64(last[metaFreelist:])
	if at == noFreelist {
		return nil
	}
	if err := verifyFreelist(t.file); err != nil {
		return err
	}
	if _, err := t.file.ReadAt(t.buf, t.offset(at)); err != nil {
		return err
	}
	if !t.mark(at, 1+uint64(binary.NativeEndian.Uint32(t.buf[pageOverflow:]))) {
		return fmt.Errorf("page %d of %d is named as the list of free pages", at, t.pages)
	}
	n, from := uint64(binary.NativeEndian.Uint16(t.buf[pageCount:])), uint64(pageHeader)
	if n == manyFree {
		n, from = binary.NativeEndian.Uint64(t.buf[pageHeader:]), pageHeader+8
	}
	for to := from + 8*n; from < to; from += 8 {
		if from%t.size == 0 {
			if _, err := t.file.ReadAt(t.buf, t.offset(at+from/t.size)); err != nil {
				return err
			}
		}
		if id := binary.NativeEndian.Uint64(t.buf[from%t.size:]); !t.mark(id, 1) {
			return fmt.Errorf("page %d of %d is named as free on page %d", id, t.pages, at)
		}
	}
	return nil
}

// mark notes pages, which it reports whether they can be and were not yet noted.
func (t *tree) mark(id, n uint64) bool {
	if id < 2 || id >= t.pages || n > t.pages-id {
		return false
	}
	for ; n > 0; id, n = id+1, n-1 {
		bit := uint64(1) << (id % 64)
		if t.seen[id/64]&bit != 0 {
			return false
		}
		t.seen[id/64] |= bit
	}
	return true
}

// visit verifies a page and what it overflows into, and notes those that it names.
func (t *tree) visit(id uint64) error {
	if id < 2 || id >= t.pages {
		return fmt.Errorf("page %d of %d is named as one of a tree", id, t.pages)
	}
	b := t.buf[:t.size]
	if _, err := t.file.ReadAt(b, t.offset(id)); err != nil {
		return err
	}
	run := 1 + uint64(binary.NativeEndian.Uint32(b[pageOverflow:]))
	if own := binary.NativeEndian.Uint64(b); own != id || run > t.pages-id {
		return fmt.Errorf("page %d says that it is page %d and has %d of the %d pages", id, own, run, t.pages)
	}
	if !t.mark(id, run) {
		return fmt.Errorf("page %d, or one of %d that it overflows into, is named twice, or as free", id, run-1)
	}
	if err := t.elements(t.offset(id), run*t.size, b, false); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (t *tree) offset(id uint64) int64 { return int64(id * t.size) } //#nosec G115 -- it lies within the file

// elements verifies what a page at an offset of the file holds, which has n bytes
// and begins with b: a leaf without buckets when it is the page of a bucket that is
// a value.
func (t *tree) elements(at int64, n uint64, b []byte, inValue bool) error {
	flags, count := binary.NativeEndian.Uint16(b[pageFlags:]), uint64(binary.NativeEndian.Uint16(b[pageCount:]))
	if flags != leafPage && (flags != branchPage || inValue || count == 0) {
		return fmt.Errorf("it is of no tree: its flags are %#x, and it has %d keys", flags, count)
	}
	need := pageHeader + count*elementBytes
	if need > n {
		return fmt.Errorf("%d keys do not fit into its %d bytes", count, n)
	}
	if uint64(len(b)) < need {
		b = make([]byte, need)
		if _, err := t.file.ReadAt(b, at); err != nil {
			return err
		}
	}
	for i := range count {
		own := pageHeader + i*elementBytes
		e := b[own : own+elementBytes]
		pos, key, value := uint64(binary.NativeEndian.Uint32(e[branchPos:])), uint64(binary.NativeEndian.Uint32(e[branchKey:])), uint64(0)
		if flags == leafPage {
			pos, key, value = uint64(binary.NativeEndian.Uint32(e[leafPos:])), uint64(binary.NativeEndian.Uint32(e[leafKey:])), uint64(binary.NativeEndian.Uint32(e[leafValue:]))
		}
		if key == 0 || own+pos < need || own+pos+key+value > n {
			return fmt.Errorf("key %d of %d, with %d bytes and a value of %d, does not lie in it", i, count, key, value)
		}
		switch {
		case flags == branchPage:
			t.next = append(t.next, binary.NativeEndian.Uint64(e[branchChild:]))
		case binary.NativeEndian.Uint32(e)&bucketLeaf != 0:
			if inValue {
				return fmt.Errorf("key %d of %d is a bucket", i, count)
			}
			if err := t.bucket(at+int64(own+pos+key), value); err != nil { //#nosec G115 -- it lies within the file
				return fmt.Errorf("bucket %d of %d: %w", i, count, err)
			}
		}
	}
	return nil
}

// bucket verifies a value of n bytes, at an offset of the file, that is a bucket.
func (t *tree) bucket(at int64, n uint64) error {
	if n < bucketHeader {
		return fmt.Errorf("it has %d bytes", n)
	}
	var b [bucketHeader + pageHeader]byte
	if _, err := t.file.ReadAt(b[:min(n, uint64(len(b)))], at); err != nil {
		return err
	}
	if root := binary.NativeEndian.Uint64(b[:]); root != 0 {
		t.next = append(t.next, root)
		return nil
	}
	if n < bucketHeader+pageHeader || n > t.size { // bbolt keeps a quarter of a page at most in a value
		return fmt.Errorf("its page has %d bytes", n-bucketHeader)
	}
	return t.elements(at+bucketHeader, n-bucketHeader, b[bucketHeader:], true)
}
