package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// MaxBody bounds the body of a message: the largest record of a store and
// room for what travels with it.
const MaxBody = 4 << 20

// Message is a request or an answer.
type Message struct {
	// ID matches an answer to its request.
	ID uint64
	// Kind says what a request asks for, or how an answer ended.
	Kind byte
	Body []byte
}

// A frame is the length of what follows the header and its CRC-32C, both as
// four bytes, then id, kind and body.
const (
	headerBytes = 8
	fixedBytes  = 9 // id and kind
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is a frame that was not sent so: the connection is of no use any more.
var ErrDamaged = errors.New("wire: a damaged frame")

// Append appends a message as a frame.
func Append(b []byte, m Message) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(fixedBytes+len(m.Body))) //#nosec G115 -- the other end refuses more than MaxBody, and what the checksum does not match
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = append(b, m.Kind)
	b = append(b, m.Body...)
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+headerBytes:], castagnoli))
	return b
}

// Read reads one frame. It returns io.EOF only between frames.
func Read(r *bufio.Reader) (Message, error) {
	var head [headerBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Message{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < fixedBytes || n > fixedBytes+MaxBody {
		return Message{}, fmt.Errorf("%w: a length of %d", ErrDamaged, n)
	}
	b, err := readBody(r, int(n))
	if err != nil {
		return Message{}, err
	}
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return Message{}, fmt.Errorf("%w: the checksum does not match", ErrDamaged)
	}
	return Message{ID: binary.BigEndian.Uint64(b), Kind: b[8], Body: b[fixedBytes:]}, nil
}

// believed is how many bytes a length is believed for: for more, memory is
// taken as they arrive.
const believed = 64 << 10

func readBody(r *bufio.Reader, n int) ([]byte, error) {
	b := make([]byte, min(n, believed))
	for read := 0; read < n; read = len(b) {
		if read > 0 {
			b = append(b, make([]byte, min(n-read, read))...)
		}
		if _, err := io.ReadFull(r, b[read:]); errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// waiting reports whether a whole frame has been received already.
func waiting(r *bufio.Reader) bool {
	if r.Buffered() < headerBytes {
		return false
	}
	head, err := r.Peek(headerBytes)
	return err == nil && uint64(r.Buffered()) >= headerBytes+uint64(binary.BigEndian.Uint32(head)) //#nosec G115 -- a count is not negative
}
