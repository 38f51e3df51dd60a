//go:build !wasip1

package boltfile

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
)

// The form of bbolt's pages, by its internal/common: a page begins with 16 bytes
// (its number, flags, a count, and how many pages it overflows into), and each of
// the first two then describes a transaction.
const (
	pageHeader   = 16
	pageCount    = 10 // of the header, 2 bytes
	pageOverflow = 12
	metaSize     = 8
	metaFreelist = 32
	metaNumber   = 48
	metaSum      = 56
	metaBytes    = 64
	// noFreelist is the page of a free list that is not in the file.
	noFreelist = ^uint64(0)
	// manyFree is a count that says that the list begins with its length.
	manyFree = 0xffff
)

// VerifyMetas verifies both pages that say which transaction is the last. bbolt
// takes the older one when the newer is damaged, as after a crash in the middle
// of its write. But one cannot be half written: it lies in one sector. And what
// was acknowledged under the newer one must not be forgotten. The file must not be
// written to meanwhile.
func VerifyMetas(path string) error {
	return look(path, func(file *os.File) error {
		for i := range int64(2) {
			if _, ok, err := readMeta(file, i); err != nil {
				return err
			} else if !ok {
				return fmt.Errorf("page %d, which says what was written last, does not match its checksum", i)
			}
		}
		return nil
	})
}

// VerifyFreelist verifies that the list of free pages has no more of them than the
// file has pages, and lies within it: bbolt makes room for all that a list says it
// has. A file that is missing, empty or without a valid description of a
// transaction is left to bbolt. The file must not be written to meanwhile.
func VerifyFreelist(path string) error {
	return look(path, verifyFreelist)
}

func verifyFreelist(file *os.File) error {
	last := lastMeta(file)
	if last == nil {
		return nil
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	at, page := binary.NativeEndian.Uint64(last[metaFreelist:]), uint64(binary.NativeEndian.Uint32(last[metaSize:]))
	pages := uint64(st.Size()) / page //#nosec G115 -- a size is not negative
	if at == noFreelist {
		return nil
	}
	var head [pageHeader + 8]byte
	if at >= pages {
		return fmt.Errorf("the list of free pages should be page %d of %d", at, pages)
	}
	if _, err := file.ReadAt(head[:], int64(at*page)); err != nil { //#nosec G115 -- it lies within the file
		return err
	}
	free, first := uint64(binary.NativeEndian.Uint16(head[pageCount:])), uint64(0)
	if free == manyFree {
		free, first = binary.NativeEndian.Uint64(head[pageHeader:]), 1
	}
	overflow := uint64(binary.NativeEndian.Uint32(head[pageOverflow:]))
	if free > pages || at+overflow >= pages || pageHeader+8*(first+free) > (1+overflow)*page {
		return fmt.Errorf("page %d lists %d free pages on %d, and the file has %d pages in all", at, free, 1+overflow, pages)
	}
	return nil
}

// lastMeta returns the newest valid description of a transaction; nil when there
// is none.
func lastMeta(file *os.File) (last []byte) {
	for i := range int64(2) {
		b, ok, err := readMeta(file, i)
		if err != nil || !ok {
			continue
		}
		if last == nil || binary.NativeEndian.Uint64(b[metaNumber:]) > binary.NativeEndian.Uint64(last[metaNumber:]) {
			last = b
		}
	}
	return last
}

// readMeta returns one of the two descriptions, and whether it is valid.
func readMeta(file *os.File, i int64) (b []byte, ok bool, err error) {
	b = make([]byte, metaBytes)
	if _, err := file.ReadAt(b, i*int64(os.Getpagesize())+pageHeader); err != nil {
		return nil, false, err
	}
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSum]) // never fails
	size := binary.NativeEndian.Uint32(b[metaSize:])
	return b, sum.Sum64() == binary.NativeEndian.Uint64(b[metaSum:]) && size == uint32(os.Getpagesize()), nil //#nosec G115 -- a page has some KiB
}

func look(path string, at func(*os.File) error) error {
	file, err := os.Open(path) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	return at(file)
}
