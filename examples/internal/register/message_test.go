package register

import (
	"bytes"
	"slices"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

func FuzzRequest(f *testing.F) {
	record := store.Record{Partition: 3, Key: "k", Value: []byte("v"), Version: store.Version{Epoch: 2, Sequence: 5, Writer: 7}}
	f.Add(kindGet, encodeGet(3, 9, "key"))
	f.Add(kindPut, encodePut(9, &record))
	f.Add(kindFetch, encodeFetch(1, 2, []string{"a", "", "ccc"}))
	f.Add(kindSynced, head(0, 1, 0))
	f.Add(byte(200), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		q, err := decodeRequest(kind, b)
		fuzz.Memory(t, len(b), 64, func() { _, _ = decodeRequest(kind, b) })
		if err != nil {
			return
		}
		var again []byte
		switch kind {
		case kindGet, kindDigest:
			again = encodeGet(q.partition, q.number, q.key)
		case kindPut:
			again = encodePut(q.number, &q.record)
		case kindFetch:
			again = encodeFetch(q.partition, q.number, q.keys)
		default:
			return // what follows the head is not looked at
		}
		other, err := decodeRequest(kind, again)
		if err != nil || other.partition != q.partition || other.number != q.number || other.key != q.key ||
			!slices.Equal(other.keys, q.keys) || other.record.Version != q.record.Version || !bytes.Equal(other.record.Value, q.record.Value) {
			t.Errorf("%+v became %+v, %v", q, other, err)
		}
	})
}

// FuzzAnswers: the records and the Config that another member answers with.
func FuzzAnswers(f *testing.F) {
	record := store.Record{Partition: 3, Key: "k", Value: []byte("v"), Version: store.Version{Epoch: 2, Sequence: 5, Writer: 7}}
	c := Config{Number: 3, Old: []Member{{"a", "1"}, {"b", "2"}}, New: []Member{{"b", "2"}}}
	f.Add(encodeRecords([]store.Record{record, record}))
	f.Add(c.Encode())
	for _, s := range []string{`{"number":1,"old":[{"node":"a","store":"1"}]}`, `{"number":-1}`, `{"number":1,"old":[{}]}`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := decodeRecords(3, b)
		fuzz.Memory(t, len(b), 64, func() { _, _ = decodeRecords(3, b) })
		if err == nil {
			for _, r := range records {
				if r.Partition != 3 {
					t.Errorf("accepted %+v", r)
				}
			}
			if again, err := decodeRecords(3, encodeRecords(records)); err != nil || len(again) != len(records) {
				t.Errorf("%d records came back as %d, %v", len(records), len(again), err)
			}
		}
		c, err := DecodeConfig(b)
		fuzz.Memory(t, len(b), 200, func() { _, _ = DecodeConfig(b) })
		if err != nil {
			return
		}
		again, err := DecodeConfig(c.Encode())
		if err != nil || again.Number != c.Number || !slices.Equal(again.Old, c.Old) || !slices.Equal(again.New, c.New) {
			t.Errorf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

func TestConfigForm(t *testing.T) {
	c := Config{Number: 3, Old: []Member{{"a", "1"}, {"b", "2"}}, New: []Member{{"b", "2"}, {"c", "3"}}}
	got, err := DecodeConfig(c.Encode())
	if err != nil || got.Number != 3 || !slices.Equal(got.Old, c.Old) || !slices.Equal(got.New, c.New) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"number":1}`, `{"number":0,"old":[{"node":"a","store":"1"}]}`, "[]"} {
		if _, err := DecodeConfig([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestNextIsSafe walks through every change among five members and checks what
// makes a change safe: quorums of a Config and of the next one always meet in
// the old members, and a Config ends only for members that a majority of has
// copied to.
func TestNextIsSafe(t *testing.T) {
	all := []Member{{"a", "1"}, {"b", "1"}, {"c", "1"}, {"d", "1"}, {"e", "1"}}
	sets := func() (out [][]Member) {
		for bits := 1; bits < 1<<len(all); bits++ {
			var s []Member
			for i, m := range all {
				if bits&(1<<i) != 0 {
					s = append(s, m)
				}
			}
			out = append(out, s)
		}
		return out
	}()
	for _, old := range sets {
		for _, now := range append(sets, nil) {
			c := Config{Number: 5, Old: old, New: now}
			for _, want := range sets {
				for _, synced := range sets {
					in := func(m Member) bool { return slices.Contains(synced, m) }
					next, ok := c.Next(want, in)
					rests := slices.Equal(old, want)
					if c.Joint() {
						rests = !rests && slices.Equal(now, want) && !majority(now, in)
					}
					if ok == rests {
						t.Fatalf("%+v, wanted %+v, copied by %+v: %+v, %v", c, want, synced, next, ok)
					}
					if !ok {
						continue
					}
					if next.Number != 6 || !next.Joint() && !slices.Equal(next.Old, want) || next.Joint() && !slices.Equal(next.New, want) {
						t.Fatalf("%+v, wanted %+v: %+v", c, want, next)
					}
					keeps := slices.Equal(next.Old, old)
					if !keeps && !(slices.Equal(next.Old, now) && majority(now, in)) {
						t.Fatalf("%+v gives up the old members for %+v, copied by %+v", c, next, synced)
					}
				}
			}
		}
	}
}
