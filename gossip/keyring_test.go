package gossip

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// has reports whether memberlist's own ring holds exactly these keys, the
// first of them encrypting.
func has(k *Keyring, keys ...[]byte) bool {
	ring := k.ring.GetKeys()
	if len(ring) != len(keys) || !bytes.Equal(ring[0], keys[0]) {
		return false
	}
	for _, key := range keys {
		found := false
		for _, other := range ring {
			found = found || bytes.Equal(key, other)
		}
		if !found {
			return false
		}
	}
	return true
}

func TestAnExchangeOfKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := OpenKeyring(dir, [][]byte{key(1), key(1)})
	if err != nil || !has(k, key(1)) {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what string
		do   func() (Ring, error)
		want [][]byte // nil: refused, and nothing changes
		err  error
	}{
		{"use what is not there", func() (Ring, error) { return k.Use(Fingerprint(key(2))) }, nil, ErrNoSuchKey},
		{"install a short one", func() (Ring, error) { return k.Install(key(2)[:31]) }, nil, ErrKeyring},
		{"install", func() (Ring, error) { return k.Install(key(2)) }, [][]byte{key(1), key(2)}, nil},
		{"install again", func() (Ring, error) { return k.Install(key(2)) }, [][]byte{key(1), key(2)}, nil},
		{"remove the one in use", func() (Ring, error) { return k.Remove(Fingerprint(key(1))) }, nil, ErrKeyInUse},
		{"install a third", func() (Ring, error) { return k.Install(key(3)) }, [][]byte{key(1), key(2), key(3)}, nil},
		{"use", func() (Ring, error) { return k.Use(Fingerprint(key(2))) }, [][]byte{key(2), key(1), key(3)}, nil},
		{"use again", func() (Ring, error) { return k.Use(Fingerprint(key(2))) }, [][]byte{key(2), key(1), key(3)}, nil},
		{"remove", func() (Ring, error) { return k.Remove(Fingerprint(key(1))) }, [][]byte{key(2), key(3)}, nil},
		{"remove again", func() (Ring, error) { return k.Remove(Fingerprint(key(1))) }, [][]byte{key(2), key(3)}, nil},
	} {
		before := k.State()
		ring, err := step.do()
		if !errors.Is(err, step.err) || step.want != nil && err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if step.want == nil {
			if after := k.State(); after.Primary != before.Primary || len(after.Keys) != len(before.Keys) {
				t.Errorf("%s: changed %v to %v", step.what, before, after)
			}
			continue
		}
		if !has(k, step.want...) || ring.Primary != Fingerprint(step.want[0]) || len(ring.Keys) != len(step.want) {
			t.Errorf("%s: %v", step.what, ring)
		}
		again, err := OpenKeyring(dir, [][]byte{key(1)})
		if err != nil || !has(again, step.want...) {
			t.Errorf("%s: a restart has %v, %v", step.what, again, err)
		}
	}
	for n := byte(10); ; n++ {
		if _, err := k.Install(key(n)); err != nil {
			if len(k.State().Keys) != maxKeys || !errors.Is(err, ErrKeyring) {
				t.Errorf("%d keys: %v", len(k.State().Keys), err)
			}
			break
		}
	}
}

// TestTheOptionsCountForMoreThanTheFile once they have changed.
func TestTheOptionsCountForMoreThanTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := OpenKeyring(dir, [][]byte{key(1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, keyFile)); err == nil {
		t.Error("a ring that was not changed is on disk")
	}
	if _, err := k.Install(key(2)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, keyFile+".*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if again, err := OpenKeyring(dir, [][]byte{key(3)}); err != nil || !has(again, key(3)) {
		t.Errorf("with other options: %v, %v", again, err)
	}
	if again, err := OpenKeyring(dir, [][]byte{key(1)}); err != nil || !has(again, key(1), key(2)) {
		t.Errorf("with the first options again: %v, %v", again, err)
	}
	if _, err := OpenKeyring(dir, nil); err == nil || !strings.Contains(err.Error(), "set it, or delete the file") {
		t.Errorf("without keys: %v", err)
	}
	for content, want := range map[string]string{
		"{":            "is damaged",
		`{"format":9}`: "format 9",
		`{"format":1,"configured":["` + Fingerprint(key(1)) + `"]}`:                 "is damaged",
		`{"format":1,"configured":["` + Fingerprint(key(1)) + `"],"keys":["AQID"]}`: "is damaged",
	} {
		if err := os.WriteFile(filepath.Join(dir, keyFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyring(dir, [][]byte{key(1)}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s: %v, want %q and a remedy", content, err, want)
		}
	}
}

// TestAChangeThatCannotBeKeptIsNone: the ring on disk and the ring in use are one.
func TestAChangeThatCannotBeKeptIsNone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	k, err := OpenKeyring(dir, [][]byte{key(1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Install(key(2)); err == nil || !has(k, key(1)) {
		t.Errorf("%v, %v", k.State(), err)
	}
}

func TestWithoutKeysThereIsNoRingToChange(t *testing.T) {
	t.Parallel()
	k, err := OpenKeyring(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Install(key(1)); !errors.Is(err, ErrNoKeys) {
		t.Error(err)
	}
	if r := k.State(); r.Primary != "" || len(r.Keys) != 0 {
		t.Errorf("%v", r)
	}
}

// TestKeysChangeUnderLoad: memberlist reads its ring without a lock while it
// changes; the race detector looks on.
func TestKeysChangeUnderLoad(t *testing.T) {
	t.Parallel()
	k, err := NewKeyring(key(1))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var fetched atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			keys := k.ring.GetKeys()
			fetched.Add(1)
			for range 1000 { // as for a burst of packets
				for _, key := range keys {
					if len(key) != 32 || key[0] == 0 {
						t.Error("half a key")
					}
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for n := byte(2); n < 20; n++ {
		for _, step := range []func() (Ring, error){
			func() (Ring, error) { return k.Install(key(n)) },
			func() (Ring, error) { return k.Install(key(n + 100)) },
			func() (Ring, error) { return k.Use(Fingerprint(key(n))) },
			func() (Ring, error) { return k.Remove(Fingerprint(key(n - 1))) },
			func() (Ring, error) { return k.Remove(Fingerprint(key(n + 100))) },
		} {
			for last := fetched.Load(); fetched.Load() == last; { // so that the ring that is read is the one that changes
				runtime.Gosched()
			}
			if _, err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(done)
	reading.Wait()
	if !has(k, key(19)) {
		t.Errorf("%v", k.State())
	}
}

func TestFingerprintsDoNotTellTheKey(t *testing.T) {
	t.Parallel()
	if f := Fingerprint(key(1)); len(f) != 16 || f == Fingerprint(key(2)) || f != Fingerprint(key(1)) {
		t.Error(f)
	}
}
