package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/frame"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// copyBatch is how many bytes of records travel in one frame of a copy.
const copyBatch = 256 << 10

// transition is the hook: it takes a role over, or lets it go.
func (k *kv) transition(ctx context.Context, t clusterkit.Transition) error {
	switch t.After {
	case clusterkit.RoleLearner:
		return k.copyFrom(ctx, t)
	case clusterkit.RoleRevoked:
		// IsPrimary is false by now, so that no write begins.
		k.part(t.Partition).gate.wait()
	case clusterkit.RoleNone:
		return k.store.Drop(t.Partition)
	}
	return nil
}

// copyFrom makes this node's records of a partition those of its primary.
// Writes that are made meanwhile arrive by themselves: the primary sends them
// to learners as well, and versions decide which record is newer.
func (k *kv) copyFrom(ctx context.Context, t clusterkit.Transition) error {
	if len(t.Sources) == 0 {
		return errors.New("no in-sync replica is alive to copy from")
	}
	from := t.Sources[0].Service(serviceName)
	query := url.Values{"partition": {strconv.Itoa(t.Partition)}, "version": {strconv.FormatUint(t.Version, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+from+"/kv/internal/copy?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: k.peers.http.Transport}).Do(req)
	if err != nil {
		return fmt.Errorf("copy %s: %w", t.PartitionID, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("copy %s from %s: %s: %s", t.PartitionID, t.Sources[0].ID, resp.Status, text)
	}
	upTo, err := parseMark(resp.Header.Get(markHeader))
	if err != nil {
		return err
	}
	return k.receive(bufio.NewReaderSize(resp.Body, 64<<10), t.Partition, upTo)
}

// receive applies a stream of records in the order of their keys. Between two
// keys of the stream this node may have keys that the source has not: of an
// earlier life of this replica, or writes that were never acknowledged. What
// is not newer than the source's mark goes; newer ones arrived meanwhile.
func (k *kv) receive(r io.Reader, partition int, upTo store.Version) error {
	last := ""
	for {
		items, err := frame.Read(r)
		if err != nil {
			return fmt.Errorf("copy of partition %d: %w", partition, err)
		}
		if len(items) == 0 {
			return k.store.Purge(partition, last, "", nil, upTo)
		}
		records := make([]store.Record, len(items))
		keep := make(map[string]bool, len(items))
		for i := range items {
			if items[i].Partition != partition {
				return fmt.Errorf("copy of partition %d: a record of partition %d", partition, items[i].Partition)
			}
			records[i] = items[i].Record
			keep[items[i].Key] = true
		}
		if err := k.store.Apply(records); err != nil {
			return err
		}
		to := records[len(records)-1].Key
		if err := k.store.Purge(partition, last, to, keep, upTo); err != nil {
			return err
		}
		last = to
	}
}

// markHeader carries the version up to which a copy is complete.
const markHeader = "X-Copy-Mark"

func formatMark(v store.Version) string { return fmt.Sprintf("%d.%d", v.Epoch, v.Sequence) }

func parseMark(text string) (store.Version, error) {
	var v store.Version
	if _, err := fmt.Sscanf(text, "%d.%d", &v.Epoch, &v.Sequence); err != nil {
		return v, fmt.Errorf("the copy has no mark: %w", err)
	}
	return v, nil
}

// serveCopy streams a partition as its primary. Two rules make the copy
// complete: from the version that made the caller a learner on, every write
// of this node goes to it as well; and the scan begins only when the writes
// that began before that are over.
func (k *kv) serveCopy(w http.ResponseWriter, r *http.Request) {
	i, err := strconv.Atoi(r.URL.Query().Get("partition"))
	version, err2 := strconv.ParseUint(r.URL.Query().Get("version"), 10, 64)
	if err != nil || err2 != nil || i < 0 {
		fail(w, http.StatusBadRequest, "the parameters partition and version are required")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeWithin)
	defer cancel()
	if err := k.ck.WaitVersion(ctx, version); err != nil {
		fail(w, http.StatusServiceUnavailable, "this node is behind: "+err.Error())
		return
	}
	t := k.ck.Topology()
	if i >= len(t.Partitions) {
		fail(w, http.StatusBadRequest, "no such partition")
		return
	}
	// The mark comes first: what is at or below it has entered the gate, and
	// is over when the scan begins.
	pt := k.part(i)
	p := k.ck.Topology().Partitions[i]
	mark := store.Version{Epoch: p.Epoch, Sequence: pt.sequence.Load()}
	pt.gate.wait()
	if p.Primary != k.ck.GetMyNodeID() {
		// Only the primary knows which writes are under way.
		fail(w, http.StatusConflict, "this node is not the primary: ask it")
		return
	}
	w.Header().Set(markHeader, formatMark(mark))
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := k.stream(w, i, p.Epoch); err != nil {
		// The stream lacks its end, which the receiver notices.
		k.logger.Warn("copy was not sent", "partition", p.ID, "error", err)
	}
}

func (k *kv) stream(w io.Writer, partition int, epoch uint64) error {
	var items []frame.Item
	size := 0
	err := k.store.Scan(partition, func(r store.Record) error {
		items = append(items, frame.Item{Record: r, Epoch: epoch})
		if size += len(r.Key) + len(r.Value) + 64; size < copyBatch {
			return nil
		}
		err := frame.Write(w, items)
		items, size = items[:0], 0
		return err
	})
	if err != nil {
		return err
	}
	if len(items) > 0 {
		if err := frame.Write(w, items); err != nil {
			return err
		}
	}
	return frame.Write(w, nil)
}
