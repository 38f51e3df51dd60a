package raftstore

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	began := time.Unix(1000, 0)
	// One byte just before each deadline: the request ends all the same.
	p, now := begin(snapshotRPC, began), began
	for range 1000 {
		next := p.deadline(now).Add(-time.Millisecond)
		if !next.After(now) {
			break
		}
		now = next
		if err := p.took(1); err != nil {
			t.Fatal(err)
		}
	}
	if held := now.Sub(began); held > readLimit+time.Second {
		t.Errorf("one byte at a time holds a stream for %v", held)
	}
	// A slow disk or network that keeps twice the least rate is never cut off.
	p, now = begin(snapshotRPC, began), began
	for range 3600 {
		if now = now.Add(time.Second); now.After(p.deadline(now.Add(-time.Second))) {
			t.Fatalf("cut off after %v", now.Sub(began))
		}
		if err := p.took(2 * leastRate); err != nil {
			t.Fatal(err)
		}
	}
	// A gap of half the limit is nothing to a request that came fast.
	p = begin(snapshotRPC, began)
	if err := p.took(1 << 20); err != nil {
		t.Fatal(err)
	}
	if d := p.deadline(began.Add(40 * time.Second)); d.Sub(began) < 45*time.Second {
		t.Errorf("a megabyte gives %v", d.Sub(began))
	}
	for kind, limit := range map[byte]int{0: maxRequest, 1: maxRequest, snapshotRPC: maxSnapshot} {
		p := begin(kind, began)
		if err := p.took(limit); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
		if p.took(1) == nil {
			t.Errorf("kind %d: more than %d bytes were taken", kind, limit)
		}
	}
}
