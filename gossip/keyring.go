package gossip

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
)

// maxKeys bounds a ring: every packet that is not ours costs a try of each
// key. An exchange needs two.
const maxKeys = 8

var (
	// ErrNoKeys: gossip is in the clear, so there is no ring to change.
	ErrNoKeys = errors.New("gossip: this node gossips without keys")
	// ErrNoSuchKey: the ring does not hold the key.
	ErrNoSuchKey = errors.New("gossip: the ring does not hold this key")
	// ErrKeyInUse: the key encrypts what this node sends, and must not go.
	ErrKeyInUse = errors.New("gossip: this key encrypts: use another one first")
	// ErrKeyring: the ring cannot take the key.
	ErrKeyring = errors.New("gossip: the ring cannot take this key")
)

// Ring says which keys a node holds, by their fingerprints.
type Ring struct {
	// Primary encrypts; it is the first of Keys. "" without keys.
	Primary string
	// Keys decrypt.
	Keys []string
}

// Fingerprint names a key without telling it: 16 hexadecimal digits.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("clusterkit gossip key\x00"), key...))
	return hex.EncodeToString(sum[:8])
}

// Keyring holds the keys of a node's gossip. Every change is durable before it
// counts. Its methods may be called concurrently; they wait for the disk.
type Keyring struct {
	mu         sync.Mutex
	keys       [][]byte // the first encrypts
	configured []string // fingerprints of the keys of the options, in their order
	path       string   // "" keeps the ring in memory
	ring       *memberlist.Keyring
}

// NewKeyring returns a ring in memory. No keys mean gossip in the clear.
func NewKeyring(keys ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for _, key := range keys {
		if slices.ContainsFunc(k.keys, func(other []byte) bool { return bytes.Equal(key, other) }) {
			continue
		}
		k.keys = append(k.keys, bytes.Clone(key))
		k.configured = append(k.configured, Fingerprint(key))
	}
	if len(k.keys) > maxKeys {
		return nil, fmt.Errorf("%w: %d keys, at most %d", ErrKeyring, len(k.keys), maxKeys)
	}
	return k, k.load()
}

// load makes memberlist's ring of the keys.
func (k *Keyring) load() (err error) {
	if len(k.keys) == 0 {
		return nil
	}
	if k.ring, err = memberlist.NewKeyring(k.keys, k.keys[0]); err != nil {
		return fmt.Errorf("gossip: GossipKeys: %w", err)
	}
	return nil
}

// State returns the fingerprints of the keys.
func (k *Keyring) State() Ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state()
}

func (k *Keyring) state() Ring {
	r := Ring{Keys: make([]string, len(k.keys))}
	for i, key := range k.keys {
		r.Keys[i] = Fingerprint(key)
	}
	if len(r.Keys) > 0 {
		r.Primary = r.Keys[0]
	}
	return r
}

// Install adds a key that decrypts, and encrypts nothing yet. A key that is
// there already is no error. Errors: ErrNoKeys, ErrKeyring, or the disk's.
func (k *Keyring) Install(key []byte) (Ring, error) {
	if n := len(key); n != 16 && n != 24 && n != 32 {
		return Ring{}, fmt.Errorf("%w: it has %d bytes: use 16, 24 or 32 random ones", ErrKeyring, n)
	}
	key = bytes.Clone(key)
	return k.change(Fingerprint(key), func(at int) ([][]byte, error) {
		switch {
		case at >= 0:
			return k.keys, nil
		case len(k.keys) >= maxKeys:
			return nil, fmt.Errorf("%w: it holds %d keys: remove one first", ErrKeyring, maxKeys)
		}
		return append(slices.Clone(k.keys), key), nil
	})
}

// Use makes the key with the fingerprint the one that encrypts. Errors:
// ErrNoKeys, ErrNoSuchKey, or the disk's.
func (k *Keyring) Use(fingerprint string) (Ring, error) {
	return k.change(fingerprint, func(at int) ([][]byte, error) {
		if at < 0 {
			return nil, ErrNoSuchKey
		}
		keys := slices.Clone(k.keys)
		key := keys[at]
		return slices.Insert(slices.Delete(keys, at, at+1), 0, key), nil
	})
}

// Remove drops the key with the fingerprint; one that is not there is no
// error. Errors: ErrNoKeys, ErrKeyInUse, or the disk's.
func (k *Keyring) Remove(fingerprint string) (Ring, error) {
	return k.change(fingerprint, func(at int) ([][]byte, error) {
		switch {
		case at == 0:
			return nil, ErrKeyInUse
		case at < 0:
			return k.keys, nil
		}
		return slices.Delete(slices.Clone(k.keys), at, at+1), nil
	})
}

// change replaces the ring by what f makes of it, knowing where the key with
// the fingerprint stands, or -1.
func (k *Keyring) change(fingerprint string, f func(at int) ([][]byte, error)) (Ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ring == nil {
		return Ring{}, ErrNoKeys
	}
	keys, err := f(slices.IndexFunc(k.keys, func(key []byte) bool { return Fingerprint(key) == fingerprint }))
	if err != nil {
		return Ring{}, err
	}
	if !slices.EqualFunc(keys, k.keys, bytes.Equal) {
		if err := k.save(keys); err != nil {
			return Ring{}, err
		}
		before := k.keys
		k.keys = keys
		k.apply(before)
	}
	return k.state(), nil
}

// apply brings memberlist's ring, which is in use, to the new keys.
func (k *Keyring) apply(before [][]byte) {
	for _, key := range k.keys {
		_ = k.ring.AddKey(key) // its length was checked; one that is there is no error
	}
	for _, key := range before {
		if slices.ContainsFunc(k.keys, func(other []byte) bool { return bytes.Equal(key, other) }) {
			continue
		}
		// RemoveKey shifts the keys behind it in a slice that memberlist is
		// reading without a lock, unless the key is the last. UseKey makes a new
		// slice with its key in front: the others go in front of this one, in turn.
		for _, other := range k.keys {
			_ = k.ring.UseKey(other) // it was added above
		}
		_ = k.ring.UseKey(k.keys[0])
		_ = k.ring.RemoveKey(key)
	}
	_ = k.ring.UseKey(k.keys[0])
}
