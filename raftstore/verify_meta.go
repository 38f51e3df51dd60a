//go:build !wasip1

package raftstore

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
)

// metaSum is the offset of the checksum in the description of a transaction,
// metaAt that of the description in its page. Both are bbolt's.
const (
	metaAt  = 16
	metaSum = 56
)

// verifyMeta verifies both pages that say which transaction is the last. bbolt
// takes the older one when the newer is damaged, as after a crash in the middle
// of its write. But one cannot be half written: it lies in one sector. And what
// was acknowledged under the newer one must not be forgotten.
func verifyMeta(path string) error {
	file, err := os.Open(path) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	for i, at := range []int64{0, int64(os.Getpagesize())} {
		b := make([]byte, metaSum+8)
		if _, err := file.ReadAt(b, at+metaAt); err != nil {
			return err
		}
		sum := fnv.New64a()
		_, _ = sum.Write(b[:metaSum]) // never fails
		size := binary.NativeEndian.Uint32(b[8:])
		if sum.Sum64() != binary.NativeEndian.Uint64(b[metaSum:]) || i == 0 && size != uint32(os.Getpagesize()) { //#nosec G115 -- a page has some KiB
			return fmt.Errorf("page %d, which says what was written last, does not match its checksum", i)
		}
	}
	return nil
}
