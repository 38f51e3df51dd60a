package client

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestCircuit(t *testing.T) {
	t.Parallel()
	var c circuit
	now := time.Duration(0)
	for range tripAfter {
		if !c.admits(now) {
			t.Fatal("opened too early")
		}
		c.judge(false, now)
	}
	if c.admits(now) || c.admits(now+openMin-1) {
		t.Error("asked while open")
	}
	now += openMin
	if !c.admits(now) || c.admits(now) {
		t.Error("one trial is due, and only one")
	}
	c.judge(false, now)
	if c.admits(now + openMin) {
		t.Error("a failed trial must double the time")
	}
	for range 20 {
		now = c.until
		c.admits(now)
		c.judge(false, now)
	}
	if c.open != openMax {
		t.Errorf("open for %v at most, want %v", c.open, openMax)
	}
	c.judge(true, now)
	if !c.admits(now) || c.failures != 0 {
		t.Error("a success closes the circuit")
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	var b budget
	granted := 0
	for range 1000 {
		b.request()
	}
	for b.retry(0) {
		granted++
	}
	if granted < 199 || granted > 201 {
		t.Errorf("1000 requests granted %d retries, want a fifth", granted)
	}
	granted = 0
	for b.retry(time.Second) {
		granted++
	}
	if granted < budgetFloor-1 || granted > budgetFloor+1 {
		t.Errorf("an idle second granted %d retries, want %v", granted, budgetFloor)
	}
	b.retry(1 << 60)
	if b.tokens > budgetMax {
		t.Errorf("saved up %v", b.tokens)
	}
}

// document is the map that the server's own golden test freezes.
func document(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../topology/testdata/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParsesTheServersMap(t *testing.T) {
	t.Parallel()
	m, err := parseMap(document(t), "kv")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Partitions) != 6 || len(m.Nodes) != 4 || m.Partitions[0].Primary.ID != "node-1" || m.Partitions[0].Primary.Addr != "127.0.0.1:7000" {
		t.Errorf("got %+v", m)
	}
	for i := range m.Partitions {
		for _, r := range m.Partitions[i].Replicas {
			if !r.Active || r == m.Partitions[i].Primary {
				t.Errorf("%s: replica %+v", m.Partitions[i].ID, r)
			}
		}
	}
}

// TestRefusesWhatItCannotRouteBy: a client that guessed would write to the
// wrong partition.
func TestRefusesWhatItCannotRouteBy(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*topology.Document){
		"another hash":       func(d *topology.Document) { d.HashConfig.Algorithm = "crc32" },
		"no hash":            func(d *topology.Document) { d.HashConfig.Algorithm = "" },
		"another encoding":   func(d *topology.Document) { d.HashConfig.Encoding = "little_endian" },
		"a seed":             func(d *topology.Document) { d.HashConfig.Seed = 7 },
		"another name":       func(d *topology.Document) { d.HashConfig.Format = "shard-%d" },
		"too few partitions": func(d *topology.Document) { d.HashConfig.Modulo = 7 },
		"no partitions":      func(d *topology.Document) { d.HashConfig.Modulo = 0 },
		"no cluster":         func(d *topology.Document) { d.Cluster.ID = "" },
	} {
		var d topology.Document
		if err := json.Unmarshal(document(t), &d); err != nil {
			t.Fatal(err)
		}
		change(&d)
		if m, err := newMap(&d, ""); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
