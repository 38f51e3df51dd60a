package gossip

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxHello bounds a handshake message.
const maxHello = 512

// hello names one end of a link to the other.
type hello struct {
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
	// Want is the UUID that the dialler believes to be at this address.
	Want string `json:"want,omitempty"`
	// Probe asks who is there and nothing more: no link comes of it.
	Probe bool `json:"probe,omitempty"`
}

func writeHello(w io.Writer, h hello) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(b) > maxHello {
		return fmt.Errorf("gossip: a handshake of %d bytes, at most %d", len(b), maxHello)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)) //#nosec G115 -- at most maxHello
	return err
}

func readHello(r io.Reader) (hello, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return hello{}, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxHello {
		return hello{}, fmt.Errorf("gossip: a handshake of %d bytes, at most %d", n, maxHello)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return hello{}, err
	}
	var h hello
	if err := json.Unmarshal(b, &h); err != nil {
		return hello{}, fmt.Errorf("gossip: handshake: %w", err)
	}
	if h.UUID == "" || h.Incarnation == 0 {
		return hello{}, errors.New("gossip: a handshake without uuid or incarnation")
	}
	return h, nil
}
