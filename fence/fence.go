package fence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const (
	// MaxPartitions bounds a fence, as it bounds a cluster.
	MaxPartitions = 65536

	magic      = "ckfence2"
	headerSize = 16 // magic, number of partitions, checksum
	slotSize   = 16 // epoch, checksum, nothing: no slot lies in two sectors of a disk
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrStale means that a higher epoch has been accepted: whoever sent this one
// is no longer the partition's primary. The error is a *StaleError.
var ErrStale = errors.New("fence: stale epoch")

// StaleError is an ErrStale that knows the epochs.
type StaleError struct {
	Partition int
	// Epoch was refused, since Highest has been accepted.
	Epoch, Highest uint64
}

// Error implements error.
func (e *StaleError) Error() string {
	return fmt.Sprintf("fence: partition %d: epoch %d is stale, %d has been accepted: ask for the partition's primary again", e.Partition, e.Epoch, e.Highest)
}

// Is makes errors.Is(err, ErrStale) hold.
func (e *StaleError) Is(target error) bool { return target == ErrStale }

// Fence holds the highest accepted epoch of each partition. Its methods may be
// called concurrently; writes to different partitions do not wait for each other.
type Fence struct {
	file  *os.File
	parts []part

	mu      sync.Mutex // of what follows
	syncing *syncOnce  // not begun yet: writes until it begins are covered
	running sync.Mutex // held while a sync runs
	failed  error      // the first error of the file: nothing is raised after it
}

// part is one partition. Writers hold mu for reading, so that an epoch rises
// only when no write under a lower one is under way.
type part struct {
	mu    sync.RWMutex
	epoch uint64
	slot  int // which of the two holds epoch
}

type syncOnce struct {
	once sync.Once
	err  error
}

// Open opens or creates the file. partitions is the cluster's PartitionCount;
// a file that was made for another number, or is damaged, is an error that
// says what to do. The caller calls Close.
func Open(path string, partitions int) (*Fence, error) {
	if partitions < 1 || partitions > MaxPartitions {
		return nil, fmt.Errorf("fence: partitions %d: use 1 to %d", partitions, MaxPartitions)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0o600) //#nosec G304 -- the embedder says where its fence lies
	if errors.Is(err, os.ErrNotExist) {
		if err = create(path, make([]uint64, partitions)); err == nil {
			file, err = os.OpenFile(path, os.O_RDWR, 0o600) //#nosec G304 -- the embedder says where its fence lies
		}
	}
	if err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	f := &Fence{file: file, parts: make([]part, partitions), syncing: new(syncOnce)}
	if err := f.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("fence: open %s: %w", path, err), file.Close())
	}
	return f, nil
}

func header(partitions int) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.BigEndian.PutUint32(b[8:], uint32(partitions)) //#nosec G115 -- Open holds partitions to MaxPartitions
	binary.BigEndian.PutUint32(b[12:], crc32.Checksum(b[:12], castagnoli))
	return b
}

func fileSize(partitions int) int64 { return headerSize + int64(partitions)*2*slotSize }

// create makes a file under another name first, so that whatever has the name
// is whole. Every slot is written: zeros are damage.
func create(path string, epochs []uint64) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	b := header(len(epochs))
	for i, epoch := range epochs {
		b = append(append(b, slotOf(i, epoch)...), slotOf(i, 0)...)
	}
	_, err = file.WriteAt(b, 0)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// load reads the file.
func (f *Fence) load() error {
	const remedy = "move it away only if this store's data is wiped as well, or is copied anew"
	buf := make([]byte, fileSize(len(f.parts)))
	n, err := f.file.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	head := buf[:headerSize]
	switch {
	case n >= headerSize && string(head) == string(header(len(f.parts))):
	case n >= headerSize && string(head[:8]) == magic && crc32.Checksum(head[:12], castagnoli) == binary.BigEndian.Uint32(head[12:]):
		return fmt.Errorf("it was made for %d partitions, not %d: it belongs to another cluster", binary.BigEndian.Uint32(head[8:]), len(f.parts))
	default:
		return errors.New("it is no fence, or its header is damaged: " + remedy)
	}
	if n < len(buf) {
		return errors.New("it is cut short: " + remedy)
	}
	for i := range f.parts {
		if err := f.parts[i].load(buf[headerSize+int64(i)*2*slotSize:], i); err != nil {
			return fmt.Errorf("%w: %s", err, remedy)
		}
	}
	return nil
}

// load reads a partition's two slots. A damaged one may be that of the accepted
// epoch, in place of which a lower one must not be taken; half written it cannot
// be, since it lies in one sector.
func (p *part) load(b []byte, index int) error {
	for slot := range 2 {
		s := b[slot*slotSize : (slot+1)*slotSize]
		epoch := binary.BigEndian.Uint64(s)
		if binary.BigEndian.Uint32(s[8:]) != checksum(index, s[:8]) {
			return fmt.Errorf("a slot of partition %d is damaged", index)
		}
		if epoch > p.epoch {
			p.epoch, p.slot = epoch, slot
		}
	}
	return nil
}

// slotOf returns the bytes of a slot.
func slotOf(index int, epoch uint64) []byte {
	b := make([]byte, slotSize)
	binary.BigEndian.PutUint64(b, epoch)
	binary.BigEndian.PutUint32(b[8:], checksum(index, b[:8]))
	return b
}

// checksum covers the partition's index too, so that a slot in the wrong place
// is no slot.
func checksum(index int, epoch []byte) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(index)) //#nosec G115 -- an index is below MaxPartitions
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, epoch)
}
