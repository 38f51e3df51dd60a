package gossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// keyFile keeps a ring that was changed while the node ran. A node whose ring
// is that of its options has none.
const (
	keyFile       = "gossip-keys.json"
	keyFileFormat = 1
)

// keyForm is the file. Released fields are never renamed.
type keyForm struct {
	Format int `json:"format"`
	// Configured are the fingerprints of the options' keys that the ring began
	// with. Options that say something else since are an operator's word, and
	// count for more than the file.
	Configured []string `json:"configured"`
	Keys       [][]byte `json:"keys"` // the first encrypts
}

// OpenKeyring returns the ring of a node: what dir holds, as long as the
// options still have the keys from which that ring was made, and otherwise the
// keys of the options. It refuses options without keys beside a ring on disk.
func OpenKeyring(dir string, configured [][]byte) (*Keyring, error) {
	k, err := NewKeyring(configured...)
	if err != nil {
		return nil, err
	}
	k.path = filepath.Join(dir, keyFile)
	b, err := os.ReadFile(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, nil
	case err != nil:
		return nil, fmt.Errorf("gossip: read %s: %w", k.path, err)
	case len(configured) == 0:
		return nil, fmt.Errorf("gossip: %s holds keys, and Options.GossipKeys is empty: set it, or delete the file to gossip in the clear", k.path)
	}
	var f keyForm
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("gossip: %s is damaged: %w: delete it to go on with Options.GossipKeys", k.path, err)
	}
	if f.Format != keyFileFormat {
		return nil, fmt.Errorf("gossip: %s has format %d, this version knows %d: upgrade, or delete it to go on with Options.GossipKeys", k.path, f.Format, keyFileFormat)
	}
	if !slices.Equal(f.Configured, k.configured) {
		// The file stays until the next change: whoever mistyped the options
		// gets the ring back with them.
		return k, nil
	}
	stored, err := NewKeyring(f.Keys...)
	if err != nil || len(f.Keys) == 0 {
		return nil, errors.Join(fmt.Errorf("gossip: %s is damaged: delete it to go on with Options.GossipKeys", k.path), err)
	}
	k.keys, k.ring = stored.keys, stored.ring
	return k, nil
}

// save makes the keys durable: a crash leaves the old ring or the new one.
func (k *Keyring) save(keys [][]byte) error {
	if k.path == "" {
		return nil
	}
	b, err := json.Marshal(keyForm{Format: keyFileFormat, Configured: k.configured, Keys: keys})
	if err != nil {
		return fmt.Errorf("gossip: encode the keys: %w", err)
	}
	if err := writePrivately(k.path, append(b, '\n')); err != nil {
		return fmt.Errorf("gossip: the keys cannot be kept: %w", err)
	}
	return nil
}

// writePrivately replaces a file that only its owner may read.
func writePrivately(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // made with 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
