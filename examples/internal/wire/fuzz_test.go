package wire_test

import (
	"bytes"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzRead: a frame is what was sent, to the byte, or an error; a length alone
// takes no memory.
func FuzzRead(f *testing.F) {
	f.Add(wire.Append(nil, wire.Message{ID: 1, Kind: 2, Body: []byte("x")}))
	f.Add(wire.Append(wire.Append(nil, wire.Message{ID: 1}), wire.Message{ID: 2, Kind: 3, Body: bytes.Repeat([]byte("y"), 200)}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Add([]byte{0, 0x40, 0, 0, 0, 0, 0, 0, 1, 2, 3}) // 4 MiB, of which 3 bytes come
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzz.Memory(t, len(b), 8, func() { _, _ = wire.Read(reader(b)) })
		r, at := reader(b), 0
		for {
			m, err := wire.Read(r)
			if err != nil {
				return
			}
			again := wire.Append(nil, m)
			if !bytes.HasPrefix(b[at:], again) {
				t.Fatalf("%x was read from %x", again, b[at:])
			}
			at += len(again)
		}
	})
}

// FuzzLargeFrame: bodies that are read in parts come back whole.
func FuzzLargeFrame(f *testing.F) {
	for _, size := range []uint32{0, 1, 64<<10 - 9, 64<<10 - 8, 64 << 10, 130 << 10, wire.MaxBody} {
		f.Add(size, byte(7))
	}
	f.Fuzz(func(t *testing.T, size uint32, fill byte) {
		body := make([]byte, size%(wire.MaxBody+1))
		for i := range body {
			body[i] = fill + byte(i*i>>7)
		}
		m, err := wire.Read(reader(wire.Append(nil, wire.Message{ID: 9, Kind: fill, Body: body})))
		if err != nil || m.ID != 9 || m.Kind != fill || !bytes.Equal(m.Body, body) {
			t.Errorf("%d bytes came back as %d, %v", len(body), len(m.Body), err)
		}
	})
}
