package store_test

import (
	"fmt"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

func TestIDAndNotesAreKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id, err := s.ID()
	if err != nil || id == "" {
		t.Fatal(id, err)
	}
	if n, err := s.Note(3); n != 0 || err != nil {
		t.Errorf("before: %d, %v", n, err)
	}
	if err := s.SetNotes(map[int]uint64{3: 7, 4: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer func() { _ = s.Close() }()
	again, err := s.ID()
	if err != nil || again != id {
		t.Errorf("the id was %s and is %s, %v", id, again, err)
	}
	for partition, want := range map[int]uint64{3: 7, 4: 1 << 40, 5: 0} {
		if n, err := s.Note(partition); n != want || err != nil {
			t.Errorf("partition %d: %d, want %d, %v", partition, n, want, err)
		}
	}
	if other, err := fresh(t).ID(); other == id || err != nil {
		t.Errorf("another store has the id %s, %v", other, err)
	}
}

func TestPage(t *testing.T) {
	s := fresh(t)
	for i := range 10 {
		apply(t, s, store.Record{Partition: 1, Key: fmt.Sprintf("k%d", i), Value: []byte("v"), Version: store.Version{Epoch: 1, Sequence: uint64(i)}})
	}
	apply(t, s, store.Record{Partition: 2, Key: "other", Version: store.Version{Epoch: 1}})
	seen := 0
	for after := ""; ; {
		page, err := s.Page(1, after, 4, seen%2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if r.Key != fmt.Sprintf("k%d", seen) || r.Version.Sequence != uint64(seen) {
				t.Errorf("record %d is %+v", seen, r)
			}
			seen++
		}
		after = page[len(page)-1].Key
	}
	if seen != 10 {
		t.Errorf("%d records", seen)
	}
}

// TestRememberedIsStored compares a store that remembers with one that does not.
func TestRememberedIsStored(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, nil, store.Remember)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	version := func(n int) store.Version { return store.Version{Epoch: uint64(n), Writer: 9} }
	record := func(n int, value string) store.Record {
		return store.Record{Partition: 0, Key: "k", Version: version(n), Value: []byte(value)}
	}
	for _, c := range []struct {
		write store.Record
		want  string
	}{
		{record(2, "two"), "two"}, {record(1, "one"), "two"}, {record(3, string(make([]byte, 4096))), string(make([]byte, 4096))},
		{record(4, "four"), "four"},
	} {
		apply(t, s, c.write)
		r, ok, err := s.Get(0, "k")
		if err != nil || !ok || string(r.Value) != c.want {
			t.Errorf("after %v: %.20q, %v, %v", c.write.Version, r.Value, ok, err)
		}
	}
	if err := s.Drop(0); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Get(0, "k"); ok || err != nil {
		t.Errorf("after Drop: %v, %v", ok, err)
	}
	apply(t, s, record(1, "again"))
	if r, ok, err := s.Get(0, "k"); !ok || string(r.Value) != "again" || err != nil {
		t.Errorf("written again: %q, %v, %v", r.Value, ok, err)
	}
}
