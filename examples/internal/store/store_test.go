package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

func open(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fresh(t testing.TB) *store.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func apply(t testing.TB, s *store.Store, records ...store.Record) {
	t.Helper()
	c, err := s.Apply(records...)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
}

// all returns a partition as text, by key.
func all(t testing.TB, s *store.Store, partition int) map[string]string {
	t.Helper()
	out := make(map[string]string)
	snapshot := s.Snapshot(partition)
	last := ""
	err := snapshot.Scan(func(r store.Record) error {
		if r.Key <= last || r.Partition != partition {
			return fmt.Errorf("record %q of partition %d after %q", r.Key, r.Partition, last)
		}
		last = r.Key
		out[r.Key] = show(r)
		return nil
	})
	if err := errors.Join(err, snapshot.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

func show(r store.Record) string {
	if r.Deleted {
		return r.Version.String() + " deleted"
	}
	return r.Version.String() + " " + string(r.Value)
}

func record(partition int, key string, epoch, sequence uint64, value string) store.Record {
	r := store.Record{Partition: partition, Key: key, Version: store.Version{Epoch: epoch, Sequence: sequence}}
	if r.Deleted = value == ""; !r.Deleted {
		r.Value = []byte(value)
	}
	return r
}

func TestNewestWinsInAnyOrder(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	records := []store.Record{
		record(1, "a", 1, 1, "one"), record(1, "a", 1, 2, ""), record(1, "a", 1, 3, "three"),
		record(1, "b", 1, 9, "old epoch"), record(1, "b", 2, 1, ""),
		record(2, "a", 1, 1, "another partition"),
	}
	want := map[string]string{"a": "1.3 three", "b": "2.1 deleted"}
	for range 20 {
		rand.Shuffle(len(records), func(i, k int) { records[i], records[k] = records[k], records[i] })
		cut := rand.IntN(len(records))
		apply(t, s, records[:cut]...)
		apply(t, s, records[cut:]...)
		apply(t, s, records...) // twice does no harm
		if got := all(t, s, 1); !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if err := s.Drop(1); err != nil {
			t.Fatal(err)
		}
	}
	if got := all(t, s, 2); len(got) != 1 {
		t.Errorf("dropping a partition touched another: %v", got)
	}
}

func TestWhatWasWaitedForIsThereAfterAReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				apply(t, s, record(w, fmt.Sprint(i), 1, uint64(i+1), "v"))
			}
		})
	}
	wg.Wait()
	if err := s.Bind("cluster-a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer func() { _ = s.Close() }()
	for w := range 8 {
		if keys, tombstones, err := s.Count(w); keys != 50 || tombstones != 0 || err != nil {
			t.Errorf("partition %d: %d keys, %d tombstones, %v", w, keys, tombstones, err)
		}
	}
	if err := s.Bind("cluster-a"); err != nil {
		t.Error(err)
	}
	if err := s.Bind("cluster-b"); err == nil {
		t.Error("the data of one cluster was bound to another")
	}
	if s.DiskBytes() == 0 {
		t.Error("the store takes no space")
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	apply(t, s, record(0, "key", 1, 1, "value"), record(0, "gone", 1, 2, ""))
	r, ok, err := s.Get(0, "key")
	if !ok || err != nil || show(r) != "1.1 value" {
		t.Errorf("got %v %v %v", show(r), ok, err)
	}
	r, ok, err = s.Get(0, "gone")
	if !ok || err != nil || !r.Deleted {
		t.Errorf("a tombstone: got %v %v %v", r, ok, err)
	}
	if _, ok, err = s.Get(1, "key"); ok || err != nil {
		t.Errorf("another partition: got %v %v", ok, err)
	}
}

func TestSnapshotIsOfOneMoment(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	apply(t, s, record(0, "a", 1, 1, "then"))
	snapshot := s.Snapshot(0)
	apply(t, s, record(0, "a", 1, 2, "now"), record(0, "b", 1, 3, "now"))
	var got []string
	err := snapshot.Scan(func(r store.Record) error {
		got = append(got, r.Key+" "+show(r))
		return nil
	})
	if err := errors.Join(err, snapshot.Close()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"a 1.1 then"}) {
		t.Errorf("got %v", got)
	}
}

var versions = rapid.Custom(func(t *rapid.T) store.Version {
	return store.Version{Epoch: rapid.Uint64Range(1, 3).Draw(t, "epoch"), Sequence: rapid.Uint64Range(1, 4).Draw(t, "sequence")}
})

var records = rapid.Custom(func(t *rapid.T) store.Record {
	v := versions.Draw(t, "version")
	r := store.Record{Partition: 3, Version: v, Key: rapid.StringOfN(rapid.SampledFrom([]rune("ab\x00")), 1, 3, -1).Draw(t, "key")}
	// A version names one write: what it says follows from it.
	if r.Deleted = v.Sequence == 2; !r.Deleted {
		r.Value = fmt.Append(nil, v, r.Key)
	}
	return r
})

// TestInstall holds Install, in pieces of any size and with newer records
// arriving in between, against a model of maps.
func TestInstall(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	rapid.Check(t, func(rt *rapid.T) {
		if err := s.Drop(3); err != nil {
			rt.Fatal(err)
		}
		before := rapid.SliceOfN(records, 0, 12).Draw(rt, "before")
		source := rapid.SliceOfNDistinct(records, 0, 12, func(r store.Record) string { return r.Key }).Draw(rt, "source")
		arriving := rapid.SliceOfN(records, 0, 6).Draw(rt, "arriving")
		mark := versions.Draw(rt, "mark")
		source = slices.DeleteFunc(source, func(r store.Record) bool { return r.Version.Compare(mark) > 0 })
		arriving = slices.DeleteFunc(arriving, func(r store.Record) bool { return r.Version.Compare(mark) <= 0 })
		slices.SortFunc(source, func(a, b store.Record) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })

		model := make(map[string]store.Record)
		newest := func(r store.Record) {
			if r.Version.Compare(model[r.Key].Version) > 0 {
				model[r.Key] = r
			}
		}
		for _, r := range source {
			model[r.Key] = r
		}
		for _, r := range slices.Concat(before, arriving) {
			if r.Version.Compare(mark) > 0 {
				newest(r)
			}
		}
		want := make(map[string]string)
		for key, r := range model {
			want[key] = show(r)
		}

		apply(t, s, before...)
		where := store.Range{Partition: 3}
		for rest := source; ; {
			if len(arriving) > 0 && rapid.Bool().Draw(rt, "arrives") {
				apply(t, s, arriving[0])
				arriving = arriving[1:]
			}
			n := min(len(rest), rapid.IntRange(1, 5).Draw(rt, "piece"))
			where.Last = n == 0
			if n > 0 {
				where.To = rest[n-1].Key
			}
			if err := s.Install(where, rest[:n], mark); err != nil {
				rt.Fatal(err)
			}
			where.After, rest = where.To, rest[n:]
			if where.Last {
				break
			}
		}
		apply(t, s, arriving...)
		if got := all(t, s, 3); !maps.Equal(got, want) {
			rt.Fatalf("got %q, want %q", got, want)
		}
	})
}

// TestCompactsByItself: without a look every now and then at what is to be
// done, the store compacts what it has written, and keeps the newest of it.
func TestCompactsByItself(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	const passes, keys, size = 12, 4000, 1200 // each pass is a memtable, over the same keys
	random := rand.NewChaCha8([32]byte{})
	value := make([]byte, size)
	for pass := range passes {
		batch := make([]store.Record, 0, keys)
		for k := range keys {
			_, _ = random.Read(value) // never fails
			batch = append(batch, record(1, fmt.Sprintf("key-%05d", k), 1, uint64(pass*keys+k+1), string(value)))
		}
		apply(t, s, batch...)
	}
	if got := len(all(t, s, 1)); got != keys {
		t.Errorf("got %d keys, want %d", got, keys)
	}
	for began := time.Now(); s.DiskBytes() > passes/2*keys*size; {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d bytes on disk for %d that were written %d times", s.DiskBytes(), keys*size, passes)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestVersionText(t *testing.T) {
	t.Parallel()
	v := store.Version{Epoch: 1 << 60, Sequence: 7}
	if got, err := store.ParseVersion(v.String()); got != v || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "1", "1.", ".1", "1.2.3", "1.2 ", " 1.2", "-1.2", "01.2", "a.b"} {
		if v, err := store.ParseVersion(text); err == nil {
			t.Errorf("%q was read as %v", text, v)
		}
	}
}
