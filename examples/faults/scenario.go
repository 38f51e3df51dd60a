package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// scenario is a fault and what must hold under it.
type scenario struct {
	name string
	// promise and check are for docs/faults.md: what must hold besides what
	// always must (doc.go), and how it is seen.
	promise, check string
	// quick scenarios are in the selection of `make faults`.
	quick bool
	// fresh asks for a cluster that nothing happened to before, and that is
	// thrown away afterwards. Others share one, a few each.
	fresh bool
	// nodes is how many the cluster has; 0 means 5.
	nodes int
	// env is added to the environment of a fresh cluster's nodes, and prepare is
	// called for each of them before it starts.
	env     map[string]string
	prepare func(*procs.Node) error
	// secure has the nodes prove who they are, to each other and to clients, on
	// a cluster that only such scenarios share.
	secure bool
	// epochs is how many of them the fault and the healing may spend at most, of
	// all partitions together; or anyEpochs, or noEpochs.
	epochs int
	// tool is a program that the fault is made with; where there is none the
	// scenario is skipped.
	tool string
	// traffic is how many operations must be answered during the fault; 0 means 50.
	traffic int
	// optimist has clients take every failure for success, and leave has the
	// driver heal nothing: mutants.
	optimist, leave bool
	// mutant names the check that must fail.
	mutant string
	run    func(context.Context, *trial) error
}

const (
	anyEpochs = -1
	noEpochs  = -2
)

// afford reports whether a scenario may spend so many epochs.
func (s scenario) afford(spent uint64) bool {
	switch s.epochs {
	case anyEpochs:
		return true
	case noEpochs:
		return spent == 0
	}
	return spent <= uint64(s.epochs) //#nosec G115 -- what is negative is a case above
}

// lacks says what a scenario needs that this machine has not, or "".
func (s scenario) lacks() string {
	if s.tool == "" {
		return ""
	}
	if _, err := exec.LookPath(s.tool); err != nil {
		return s.tool + " is not installed"
	}
	return ""
}

// all returns the scenarios in the order in which they run and are shown.
func all() []scenario {
	return slices.Concat(onProcesses, onNetwork, onMembership, onDisks, secured(), mutants)
}

// choose returns the scenarios of a run: those named, or else the quick ones,
// or all of them.
func choose(only string, long bool) ([]scenario, error) {
	var out []scenario
	names := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, s := range all() {
		switch {
		case slices.Contains(names, s.name):
			names = slices.DeleteFunc(names, func(n string) bool { return n == s.name })
			out = append(out, s)
		case only == "" && (long || s.quick):
			out = append(out, s)
		}
	}
	if len(names) > 0 {
		var known []string
		for _, s := range all() {
			known = append(known, s.name)
		}
		return nil, fmt.Errorf("-only %s: use some of %s", strings.Join(names, ","), strings.Join(known, ","))
	}
	return out, nil
}
