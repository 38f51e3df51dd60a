package topology

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// logVersion is the first byte of an encoded entry, and of a snapshot. Bytes
// of every version that was ever released decode for ever (testdata/log).
const logVersion = 1

// MaxEntryBytes bounds an encoded entry: the largest plan there is (every
// partition of the largest cluster placed at once) stays below it.
const MaxEntryBytes = 64 << 20

// wireEntry is the log form of an Entry.
type wireEntry struct {
	ID       string        `json:"id,omitempty"`
	At       int64         `json:"at,omitempty"`
	Commands []wireCommand `json:"commands"`
}

type wireCommand struct {
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// EncodeEntry returns the log form of the entry: a version byte, then JSON.
func EncodeEntry(e Entry) ([]byte, error) {
	if !printable(e.ID, maxEntryIDBytes) {
		return nil, fmt.Errorf("topology: encode entry: ID %.80q: use at most %d printable bytes", e.ID, maxEntryIDBytes)
	}
	w := wireEntry{ID: e.ID, At: e.At, Commands: make([]wireCommand, len(e.Commands))}
	for i, c := range e.Commands {
		if c == nil {
			return nil, fmt.Errorf("topology: encode entry: command %d is nil", i)
		}
		body, err := json.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("topology: encode %s: %w", c.kind(), err)
		}
		w.Commands[i] = wireCommand{Kind: c.kind(), Body: body}
	}
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("topology: encode entry: %w", err)
	}
	if len(b) >= MaxEntryBytes {
		return nil, fmt.Errorf("topology: encode entry: %d bytes, at most %d: split it", len(b)+1, MaxEntryBytes)
	}
	return append([]byte{logVersion}, b...), nil
}

// DecodeEntry is the inverse of EncodeEntry. An unknown version, kind or
// field is an error, never skipped: a node that cannot apply what the others
// apply must stop.
func DecodeEntry(b []byte) (Entry, error) {
	var w wireEntry
	if err := decodeVersioned(b, "entry", &w); err != nil {
		return Entry{}, err
	}
	if !printable(w.ID, maxEntryIDBytes) {
		return Entry{}, fmt.Errorf("topology: decode entry: ID %.80q: at most %d printable bytes", w.ID, maxEntryIDBytes)
	}
	e := Entry{ID: w.ID, At: w.At, Commands: make([]Command, len(w.Commands))}
	for i, c := range w.Commands {
		decode, ok := commandDecoders[c.Kind]
		if !ok {
			return Entry{}, fmt.Errorf("topology: decode entry: unknown command kind %.80q: this node's version is too old", c.Kind)
		}
		command, err := decode(c.Body)
		if err != nil {
			return Entry{}, fmt.Errorf("topology: decode %s: %w", c.Kind, err)
		}
		e.Commands[i] = command
	}
	return e, nil
}

var commandDecoders = map[string]func(json.RawMessage) (Command, error){
	Found{}.kind():        decodeCommand[Found],
	RegisterNode{}.kind(): decodeCommand[RegisterNode],
	FailNode{}.kind():     decodeCommand[FailNode],
	Place{}.kind():        decodeCommand[Place],
	MoveStart{}.kind():    decodeCommand[MoveStart],
	MoveSettle{}.kind():   decodeCommand[MoveSettle],
	MoveAbort{}.kind():    decodeCommand[MoveAbort],
	Ack{}.kind():          decodeCommand[Ack],

	SetIntent{}.kind():     decodeCommand[SetIntent],
	SetWeight{}.kind():     decodeCommand[SetWeight],
	ExpectRestart{}.kind(): decodeCommand[ExpectRestart],
	RemoveNode{}.kind():    decodeCommand[RemoveNode],
	SetFlapping{}.kind():   decodeCommand[SetFlapping],
	PauseMoves{}.kind():    decodeCommand[PauseMoves],
	ResumeMoves{}.kind():   decodeCommand[ResumeMoves],
	ResetReplica{}.kind():  decodeCommand[ResetReplica],
	MarkReplica{}.kind():   decodeCommand[MarkReplica],
	EndRebalance{}.kind():  decodeCommand[EndRebalance],
	PutData{}.kind():       decodeCommand[PutData],
	DeleteData{}.kind():    decodeCommand[DeleteData],
}

func decodeCommand[C Command](body json.RawMessage) (Command, error) {
	var c C
	err := decodeStrict(body, &c)
	return c, err
}

// snapshotForm is the log form of a whole topology.
type snapshotForm struct {
	ClusterID  string       `json:"cluster_id"`
	Config     Config       `json:"config"`
	Hash       string       `json:"hash"`
	Version    uint64       `json:"version"`
	Nodes      []*Node      `json:"nodes"`
	Partitions []*Partition `json:"partitions"`
	Pause      *Pause       `json:"pause,omitempty"`
	Resumed    uint64       `json:"resumed,omitempty"`
	Rebalance  *Rebalance   `json:"rebalance,omitempty"`
	Data       []*Datum     `json:"data,omitempty"`
	Receipts   []Receipt    `json:"receipts"`
}

// EncodeSnapshot returns the log form of the topology.
func EncodeSnapshot(t *Topology) ([]byte, error) {
	b, err := json.Marshal(snapshotForm{
		ClusterID: t.ClusterID, Config: t.Config, Hash: t.Hash, Version: t.Version,
		Nodes: t.Nodes, Partitions: t.Partitions, Receipts: t.receipts.list(),
		Pause: t.Pause, Resumed: t.Resumed, Rebalance: t.Rebalance, Data: t.Data,
	})
	if err != nil {
		return nil, fmt.Errorf("topology: encode snapshot: %w", err)
	}
	return append([]byte{logVersion}, b...), nil
}

// DecodeSnapshot is the inverse of EncodeSnapshot. The result has passed Check.
func DecodeSnapshot(b []byte) (*Topology, error) {
	var s snapshotForm
	if err := decodeVersioned(b, "snapshot", &s); err != nil {
		return nil, err
	}
	if n := len(s.Receipts); n > maxReceipts {
		return nil, fmt.Errorf("topology: decode snapshot: %d receipts, at most %d", n, maxReceipts)
	}
	t := &Topology{
		ClusterID: s.ClusterID, Config: s.Config, Hash: s.Hash, Version: s.Version,
		Nodes: s.Nodes, Partitions: s.Partitions, receipts: receiptsOf(s.Receipts),
		Pause: s.Pause, Resumed: s.Resumed, Rebalance: s.Rebalance, Data: s.Data,
	}
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("topology: decode snapshot: %w", err)
	}
	return t, nil
}

func decodeVersioned(b []byte, what string, v any) error {
	if len(b) == 0 {
		return fmt.Errorf("topology: decode %s: no bytes", what)
	}
	if b[0] != logVersion {
		return fmt.Errorf("topology: decode %s: log form %d, this node knows %d: upgrade it", what, b[0], logVersion)
	}
	if err := decodeStrict(b[1:], v); err != nil {
		return fmt.Errorf("topology: decode %s: %w", what, err)
	}
	return nil
}

// decodeStrict refuses unknown fields and trailing bytes.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("bytes after the value")
	}
	return nil
}
