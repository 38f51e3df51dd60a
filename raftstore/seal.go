package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/hashicorp/raft"
)

// An entry is sealed with a trailer in its extensions: sealVersion, then the
// CRC-32C of index, term, type, data and the extensions before the trailer.
// The trailer exists on disk only; peers compute their own.
const (
	sealVersion = 1
	sealSize    = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(l *raft.Log, extensions []byte) uint32 {
	var head [25]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	// The length keeps a byte from moving between data and extensions unseen.
	binary.BigEndian.PutUint64(head[16:], uint64(len(l.Data)))
	head[24] = byte(l.Type)
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, l.Data)
	return crc32.Update(sum, castagnoli, extensions)
}

// seal returns a copy of the entry with its trailer.
func seal(l *raft.Log) *raft.Log {
	c := *l
	c.Extensions = append(slices.Clone(l.Extensions), sealVersion)
	c.Extensions = binary.BigEndian.AppendUint32(c.Extensions, checksum(l, l.Extensions))
	return &c
}

// unseal verifies that the entry is the one stored at index, and removes the trailer.
func unseal(index uint64, l *raft.Log) error {
	n := len(l.Extensions) - sealSize
	if n < 0 || l.Extensions[n] != sealVersion {
		return fmt.Errorf("entry %d carries no checksum of version %d", index, sealVersion)
	}
	extensions := l.Extensions[:n]
	if l.Index != index || checksum(l, extensions) != binary.BigEndian.Uint32(l.Extensions[n+1:]) {
		return fmt.Errorf("entry %d does not match its checksum", index)
	}
	l.Extensions = extensions
	if n == 0 {
		l.Extensions = nil
	}
	return nil
}

// sealValue returns a value of the stable store (a term, a vote) with the same
// trailer, whose checksum covers the key as well.
func sealValue(key, value []byte) []byte {
	b := append(slices.Clone(value), sealVersion)
	return binary.BigEndian.AppendUint32(b, valueSum(key, value))
}

// unsealValue verifies a value of the stable store and removes the trailer.
func unsealValue(key, b []byte) ([]byte, error) {
	n := len(b) - sealSize
	if n < 0 || b[n] != sealVersion || valueSum(key, b[:n]) != binary.BigEndian.Uint32(b[n+1:]) {
		return nil, errors.New("the value does not match its checksum")
	}
	return b[:n:n], nil
}

func valueSum(key, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	return crc32.Update(crc32.Update(sum, castagnoli, key), castagnoli, value)
}
