package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// life is one process of a node.
type life struct {
	node string
	pid  int
}

func (l life) String() string { return fmt.Sprintf("%s (process %d)", l.node, l.pid) }

// tenure is a period of ownership.
type tenure struct {
	partition string
	epoch     uint64
}

// sighting is the first answer in which a tenure was claimed.
type sighting struct {
	epoch uint64
	at    time.Time // when the answer was there
	by    life
}

// ledger holds everything that nodes of one cluster have claimed against each
// other. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	owners   map[tenure]life
	mapped   map[tenure]string // the primary of a tenure, by the maps
	seen     map[string][]sighting
	maps     map[uint64][sha256.Size]byte // of each version
	epochs   map[string]uint64            // the highest of each partition
	claims   int
	problems []string
}

func newLedger() *ledger {
	return &ledger{
		owners: make(map[tenure]life), mapped: make(map[tenure]string), seen: make(map[string][]sighting),
		maps: make(map[uint64][sha256.Size]byte), epochs: make(map[string]uint64),
	}
}

// claim notes that a process said, at some moment between sent and received,
// that it owned these partitions at these epochs.
//
// Two owners at one moment show as an answer that was asked for after another
// process had claimed a higher epoch: epochs only grow, so that the lower one
// had ended when the higher one was first claimed.
func (l *ledger) claim(by life, sent, received time.Time, primaries map[string]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims++
	for partition, epoch := range primaries {
		t := tenure{partition, epoch}
		if owner, known := l.owners[t]; !known {
			l.owners[t] = by
			l.seen[partition] = append(l.seen[partition], sighting{epoch, received, by})
		} else if owner != by {
			l.blame("%s at epoch %d was owned by %v, and then by %v", partition, epoch, owner, by)
		}
		for _, s := range l.seen[partition] {
			if s.epoch > epoch && s.at.Before(sent) {
				l.blame("%v claims %s at epoch %d, %v after %v claimed it at epoch %d",
					by, partition, epoch, sent.Sub(s.at).Round(time.Millisecond), s.by, s.epoch)
				break
			}
		}
	}
}

// topology notes a map that a node has applied.
func (l *ledger) topology(node string, d *topology.Document) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, known := l.maps[d.Cluster.Version]; known && was != sum {
		l.blame("version %d of the map is another one on %s than elsewhere", d.Cluster.Version, node)
	}
	l.maps[d.Cluster.Version] = sum
	for id, p := range d.Cluster.PartitionMap.Partitions {
		l.epochs[id] = max(l.epochs[id], p.Epoch)
		if p.PrimaryNode == "" {
			continue
		}
		t := tenure{id, p.Epoch}
		if was, known := l.mapped[t]; known && was != p.PrimaryNode {
			l.blame("%s at epoch %d has primary %s, and %s on a map of %s", id, p.Epoch, was, p.PrimaryNode, node)
		}
		l.mapped[t] = p.PrimaryNode
	}
	return nil
}

// maxBlame bounds what is told of one cluster.
const maxBlame = 20

func (l *ledger) blame(format string, args ...any) {
	if what := fmt.Sprintf(format, args...); len(l.problems) < maxBlame && !slices.Contains(l.problems, what) {
		l.problems = append(l.problems, what)
	}
}

// spent returns how many epochs all partitions together have used.
func (l *ledger) spent() (n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.epochs {
		n += e
	}
	return n
}

// verdict returns what was wrong, and how many answers that rests on.
func (l *ledger) verdict() (problems []string, claims int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.problems), l.claims
}
