package topology

import (
	"encoding/json"
	"os"
	"testing"
)

// TestDocument freezes the public JSON: clients in other languages read it.
func TestDocument(t *testing.T) {
	t.Parallel()
	got, err := json.MarshalIndent(sample(t).Document("uint64"), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const path = "testdata/cluster.json"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the public form changed:\n%s", got)
	}
}
