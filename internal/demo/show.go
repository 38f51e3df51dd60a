package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// step prints the headline of one part of the demo.
func step(began time.Time, format string, args ...any) {
	fmt.Printf("\n%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func line(format string, args ...any) { fmt.Printf("         "+format+"\n", args...) }

// bar is a progress bar on a terminal, and two lines elsewhere.
type bar struct {
	what  string
	total int
	tty   bool
	began time.Time

	mu   sync.Mutex
	last time.Time
}

func newBar(what string, total int) *bar {
	info, err := os.Stdout.Stat()
	return &bar{what: what, total: total, tty: err == nil && info.Mode()&os.ModeCharDevice != 0, began: time.Now()}
}

func (b *bar) set(done int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.tty || done != b.total && time.Since(b.last) < 50*time.Millisecond {
		return
	}
	b.last = time.Now()
	const width = 40
	full := width * done / max(b.total, 1)
	fmt.Printf("\r         %s [%s%s] %d/%d", b.what, strings.Repeat("█", full), strings.Repeat("·", width-full), done, b.total)
}

// finish ends the bar and prints the rate.
func (b *bar) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tty {
		fmt.Print("\r\033[K")
	}
	took := time.Since(b.began)
	line("%s %d in %.1f s: %.0f/s", b.what, b.total, took.Seconds(), float64(b.total)/took.Seconds())
}

// table prints how partitions are spread over the nodes.
func table(d *topology.Document, leader string) {
	led, held := make(map[string]int), make(map[string]int)
	for _, p := range d.Cluster.PartitionMap.Partitions {
		led[p.PrimaryNode]++
		held[p.PrimaryNode]++
		for _, r := range p.ReplicaNodes {
			held[r]++
		}
	}
	line("%-8s %-8s %9s %9s", "node", "status", "primaries", "replicas")
	for _, n := range d.Cluster.Nodes {
		note := ""
		if n.ID == leader {
			note = "raft leader"
		}
		line("%-8s %-8s %9d %9d  %s%s %s", n.ID, n.Status, led[n.ID], held[n.ID],
			strings.Repeat("▆", led[n.ID]), strings.Repeat("▁", held[n.ID]-led[n.ID]), note)
	}
}

// timeline prints moments as offsets from the first.
func timeline(zero time.Time, moments []moment) {
	for _, m := range moments {
		if m.at.IsZero() {
			continue
		}
		line("%+8.1f ms  %s", float64(m.at.Sub(zero).Microseconds())/1000, m.what)
	}
}

// moment is one point of a timeline.
type moment struct {
	what string
	at   time.Time
}
