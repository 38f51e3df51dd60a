package clusterkit

import (
	"bytes"
	"context"
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// SetCustomData sets one key of the cluster's replicated metadata: feature
// flags, schema versions, addresses that are no services. It may be asked of
// any node, and returns when the change is committed and applied here; every
// other node has it within milliseconds. A key has 1 to 256 printable bytes, a
// value at most 1 MiB; there may be 4,096 keys and 32 MiB in all, since every
// node holds them in memory. See Cordon for the errors. The value is copied.
func (c *ClusterKit) SetCustomData(ctx context.Context, key string, value []byte) error {
	if err := topology.ValidateDatum(key, value); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c.operate(ctx, settled, topology.PutData{Key: key, Value: value})
}

// CompareAndSetCustomData is SetCustomData for a key that has not changed since
// it was read: version is its Datum's in Snapshot, or 0 for a key that must not
// exist yet. ErrConflict means that it has changed, and that nothing was done.
// Several nodes may so keep one state machine in a key: each step is decided on
// what was read, and one of them takes it.
func (c *ClusterKit) CompareAndSetCustomData(ctx context.Context, key string, version uint64, value []byte) error {
	if err := topology.ValidateDatum(key, value); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c.operate(ctx, conflicting, topology.PutData{Key: key, Value: value, If: &version})
}

// GetCustomData returns a copy of the value under the key as this node has
// applied it last, and whether there is one. It does not block.
func (c *ClusterKit) GetCustomData(key string) ([]byte, bool) {
	d := c.Snapshot().Datum(key)
	if d == nil {
		return nil, false
	}
	return bytes.Clone(d.Value), true
}

// DeleteCustomData deletes the key; a key that is not there is no error.
func (c *ClusterKit) DeleteCustomData(ctx context.Context, key string) error {
	return c.operate(ctx, settled, topology.DeleteData{Key: key})
}

// ListCustomDataKeys returns the keys in order. It does not block.
func (c *ClusterKit) ListCustomDataKeys() []string {
	data := c.Snapshot().Data
	keys := make([]string, len(data))
	for i, d := range data {
		keys[i] = d.Key
	}
	return keys
}
