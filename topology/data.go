package topology

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Limits on the replicated metadata: it lives in the memory, the log and the
// snapshots of every node, and is no store for data.
const (
	// MaxDataKeys bounds the number of keys.
	MaxDataKeys = 4096
	// MaxDataValue bounds one value, in bytes.
	MaxDataValue = 1 << 20
	// MaxDataBytes bounds all keys and values together.
	MaxDataBytes = 32 << 20

	maxDataKeyBytes = 256
	maxNoteBytes    = 256
)

// Datum is one key of the replicated metadata. Immutable.
type Datum struct {
	Key   string
	Value []byte
	// Version is the Raft index at which the value was set.
	Version uint64
}

// Datum returns the datum under the key, or nil. O(log n).
func (t *Topology) Datum(key string) *Datum {
	if i, ok := t.findDatum(key); ok {
		return t.Data[i]
	}
	return nil
}

func (t *Topology) findDatum(key string) (int, bool) {
	return slices.BinarySearchFunc(t.Data, key, func(d *Datum, key string) int { return strings.Compare(d.Key, key) })
}

// ValidateDatum checks the bounds of a key and a value; the error says what
// they may be.
func ValidateDatum(key string, value []byte) error {
	switch {
	case key == "" || !printable(key, maxDataKeyBytes):
		return fmt.Errorf("custom data key %.80q: use 1 to %d printable bytes", key, maxDataKeyBytes)
	case len(value) > MaxDataValue:
		return fmt.Errorf("custom data value of %.80q has %d bytes: use at most %d", key, len(value), MaxDataValue)
	}
	return nil
}

func (c PutData) apply(d *draft) Outcome {
	if !d.next.Founded() {
		return stale("the cluster is not founded")
	}
	if err := ValidateDatum(c.Key, c.Value); err != nil {
		return refuse(err.Error())
	}
	i, found := d.next.findDatum(c.Key)
	switch {
	case c.If != nil && found && d.next.Data[i].Version != *c.If:
		return stale(fmt.Sprintf("the key has version %d, not %d", d.next.Data[i].Version, *c.If))
	case c.If != nil && !found && *c.If != 0:
		return stale(fmt.Sprintf("no such key: version %d was expected", *c.If))
	case found && c.If == nil && bytes.Equal(d.next.Data[i].Value, c.Value):
		return stale("the key has this value already")
	case !found && len(d.next.Data) >= MaxDataKeys:
		return refuse(fmt.Sprintf("custom data holds %d keys, the most there can be: delete some", MaxDataKeys))
	}
	total := len(c.Key) + len(c.Value)
	for _, o := range d.next.Data {
		if o.Key != c.Key {
			total += len(o.Key) + len(o.Value)
		}
	}
	if total > MaxDataBytes {
		return refuse(fmt.Sprintf("custom data would hold %d bytes, at most %d: delete some", total, MaxDataBytes))
	}
	datum := &Datum{Key: c.Key, Value: bytes.Clone(c.Value), Version: d.index}
	d.next.Data = slices.Clone(d.next.Data)
	if found {
		d.next.Data[i] = datum
		return changed()
	}
	d.next.Data = slices.Insert(d.next.Data, i, datum)
	return changed()
}

func (c DeleteData) apply(d *draft) Outcome {
	i, found := d.next.findDatum(c.Key)
	if !found {
		return stale("no such key")
	}
	if d.next.Data = slices.Delete(slices.Clone(d.next.Data), i, i+1); len(d.next.Data) == 0 {
		d.next.Data = nil // one form for "nothing", whether or not it came from a snapshot
	}
	return changed()
}

// checkData tests the metadata of a snapshot.
func (t *Topology) checkData() []error {
	var errs []error
	total := 0
	for i, d := range t.Data {
		if d == nil {
			return []error{fmt.Errorf("custom data %d is missing", i)}
		}
		total += len(d.Key) + len(d.Value)
		if i > 0 && t.Data[i-1].Key >= d.Key {
			errs = append(errs, fmt.Errorf("custom data is not sorted at %.80q", d.Key))
		}
		if err := ValidateDatum(d.Key, d.Value); err != nil {
			errs = append(errs, err)
		}
		if d.Version > t.Version {
			errs = append(errs, fmt.Errorf("custom data %.80q has version %d, above the topology's %d", d.Key, d.Version, t.Version))
		}
	}
	if len(t.Data) > MaxDataKeys || total > MaxDataBytes {
		errs = append(errs, fmt.Errorf("custom data has %d keys and %d bytes", len(t.Data), total))
	}
	return errs
}
