package fuzz_test

import (
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// spy is a test that only notes that it failed.
type spy struct {
	testing.TB
	failed bool
}

func (s *spy) Helper()               {}
func (s *spy) Errorf(string, ...any) { s.failed = true }

var sink []byte

// TestMemory: the bound holds, and a parser that believes a length is caught.
func TestMemory(t *testing.T) {
	for size, want := range map[int]bool{100: false, 1 << 20: true} {
		s := &spy{TB: t}
		fuzz.Memory(s, 8, 100, func() { sink = make([]byte, size) })
		if s.failed != want {
			t.Errorf("8 bytes that took %d: caught %v, want %v", size, s.failed, want)
		}
	}
}
