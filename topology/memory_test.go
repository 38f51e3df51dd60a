package topology

import (
	"runtime"
	"testing"
)

// TestApplyKeepsNoOldVersions: a topology must not hold on to the one that it
// came from, or a node would keep every version since its start.
func TestApplyKeepsNoOldVersions(t *testing.T) {
	top := sample(t)
	freed := make(chan struct{}, 100)
	index := top.Version
	for i := range 100 {
		old := top
		runtime.AddCleanup(old, func(struct{}) { freed <- struct{}{} }, struct{}{})
		index++
		var out []Outcome
		top, out = top.Apply(index, Entry{Commands: []Command{PutData{Key: "k", Value: []byte{byte(i)}}}})
		if !out[0].Changed {
			t.Fatal(out[0].Reason)
		}
	}
	gone := 0
	for range 10 {
		runtime.GC()
		for len(freed) > 0 {
			<-freed
			gone++
		}
		if gone >= 99 {
			break
		}
		runtime.Gosched()
	}
	if gone < 90 {
		t.Errorf("%d of 100 old versions were freed", gone)
	}
	runtime.KeepAlive(top)
}
