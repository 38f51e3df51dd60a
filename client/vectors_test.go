package client

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// TestRoutingVectors holds the client to the vectors that other languages use.
func TestRoutingVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/routing.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Name, Service string
			Document      json.RawMessage
			Incompatible  bool
			Keys          []struct {
				Key, Partition, Primary string
				Epoch                   uint64
				Replicas                []string
			}
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 10 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		m, err := parseMap(c.Document, c.Service)
		if errors.Is(err, ErrIncompatible) != c.Incompatible {
			t.Errorf("%s: %v", c.Name, err)
		}
		if err != nil {
			continue
		}
		for _, want := range c.Keys {
			p := m.Locate(want.Key)
			primary, replicas := "", []string{}
			if p.Primary != nil {
				primary = p.Primary.Addr
			}
			for _, r := range p.Replicas {
				replicas = append(replicas, r.Addr)
			}
			if p.ID != want.Partition || p.Epoch != want.Epoch || primary != want.Primary || !slices.Equal(replicas, want.Replicas) {
				t.Errorf("%s: %.20q: got %s, epoch %d, %q, %q; want %+v", c.Name, want.Key, p.ID, p.Epoch, primary, replicas, want)
			}
		}
	}
}

// TestSpecificationInPython has the second implementation check both files of vectors.
func TestSpecificationInPython(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: docs/client.py is not checked")
	}
	if out, err := exec.CommandContext(t.Context(), python, "-B", "../docs/client.py").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
