package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	partitions = 16
	replicas   = 3
	// agreeWithin is the promise for the time after any fault.
	agreeWithin = 10 * time.Second
	// formWithin bounds what the frame itself waits for.
	formWithin = time.Minute
	// shares is how many scenarios one cluster serves: a node that dies again
	// and again is a flapping one, and is treated otherwise.
	shares = 3
	// warm is how long clients work before the fault, and cool after the healing.
	warm, cool = time.Second, 500 * time.Millisecond
	// warmWithin is how long they may take to be at work.
	warmWithin = 10 * time.Second
	// enough is how many operations must be answered before and during a fault.
	enough = 50
	// authToken lets this program operate the nodes, which are on other hosts.
	authToken = "faults-operate-the-nodes-of-a-test"
	// checkWithin bounds the search for an order of a history.
	checkWithin = time.Minute
)

// driver runs scenarios one after the other.
type driver struct {
	binary, dir string
	seed        uint64
	clusters    int  // so far
	soaking     bool // one cluster goes through everything
	lab         *bed
}

// bed is a cluster, its network, and what is known of it.
type bed struct {
	c      *procs.Cluster
	net    *network
	nodes  *targets
	ledger *ledger
	served int
	secure bool // its nodes have certificates and keys
}

func (d *driver) close() error {
	if d.lab == nil {
		return nil
	}
	b := d.lab
	d.lab = nil
	b.c.Close()
	return errors.Join(b.net.close(), unmountAll(b.c.Dir), os.RemoveAll(b.c.Dir))
}

// ready returns the cluster for a scenario, and forms one if need be.
func (d *driver) ready(ctx context.Context, s scenario) (*bed, error) {
	special := s.fresh || s.nodes != 0 || s.env != nil || s.prepare != nil
	if d.lab != nil && !special && d.lab.secure == s.secure && (d.soaking || d.lab.served < shares) {
		d.lab.served++
		return d.lab, d.lab.voting(ctx)
	}
	if err := d.close(); err != nil {
		return nil, err
	}
	d.clusters++
	b := &bed{nodes: &targets{}, ledger: newLedger(), served: 1, secure: s.secure}
	if special {
		b.served = shares // nobody else has it
	}
	var err error
	if b.net, err = newNetwork(d.seed, d.clusters); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(d.dir, "cluster-")
	if err != nil {
		return nil, err
	}
	env, keys, err := s.environment(dir)
	if err != nil {
		return nil, errors.Join(err, b.net.close())
	}
	b.nodes.tls = keys.client()
	n := 5
	if s.nodes != 0 {
		n = s.nodes
	}
	b.c, err = procs.New(procs.Config{
		Binary: d.binary, Dir: dir, Nodes: n, Partitions: partitions, Replicas: replicas, Env: env, Place: b.net.place, TLS: b.nodes.tls,
	})
	if err != nil {
		return nil, errors.Join(err, b.net.close())
	}
	d.lab = b
	ctx, cancel := context.WithTimeout(ctx, formWithin)
	defer cancel()
	for _, node := range b.c.Nodes {
		if s.prepare != nil && err == nil {
			err = s.prepare(node)
		}
		if keys != nil && err == nil {
			err = keys.give(node)
		}
	}
	if err == nil {
		err = b.c.Form(ctx)
	}
	if err == nil {
		err = b.c.AwaitVoters(ctx, min(n, 5))
	}
	b.nodes.publish(b.c.Nodes)
	return b, err
}

// voting waits until all nodes vote again, as they do in a fresh cluster: one whose
// disk was wiped, or that was cut off for long, is given its vote after ten
// seconds, and without it two deaths may be too many.
func (b *bed) voting(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, formWithin)
	defer cancel()
	return b.c.AwaitVoters(ctx, min(len(b.c.Nodes), 5))
}

// environment is what the nodes of a scenario's cluster have in common, and
// what they prove themselves with, if they do.
func (s scenario) environment(dir string) (map[string]string, *secrets, error) {
	// PROFILING is for whoever looks into a soak that goes on.
	env := map[string]string{"LOG_LEVEL": "info", "GOMAXPROCS": "1", "AUTH_TOKEN": authToken, "PROFILING": "true"}
	maps.Copy(env, s.env)
	if !s.secure {
		env["INSECURE"] = "true"
		return env, nil, nil
	}
	keys, err := newSecrets(filepath.Join(dir, "secrets"), env)
	return env, keys, err
}

// result is how a scenario ended.
type result struct {
	scenario
	figures  []string
	problems []string // none: everything held
	kept     string   // where the evidence is, if something failed
	took     time.Duration
	anew     bool // it was done once more, on a cluster of its own
}

// perform runs one scenario, and once more if it failed while the machine stood
// still: leases and probes of whole seconds mean nothing then. An error is of
// this program or its machine.
func (d *driver) perform(ctx context.Context, number int, s scenario) (result, error) {
	still := watchMachine()
	r, err := d.try(ctx, number, s)
	if stood := still(); err == nil && len(r.problems) > 0 && stood > stillness {
		fmt.Printf("void    %-22s this machine stood still for %v: once more (evidence in %s)\n", s.name, stood.Round(time.Millisecond), r.kept)
		still = watchMachine()
		r, err = d.try(ctx, number, s)
		r.anew = true
		if stood := still(); stood > stillness {
			r.figures = append(r.figures, "the machine stood still for "+short(stood))
		}
	}
	return r, err
}

// stillness is how long this program may not have run for a verdict to count.
const stillness = time.Second

// watchMachine returns what tells for how long, at most, this program has not
// been run since, although it wanted to. Call that once.
func watchMachine() func() time.Duration {
	const tick = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var longest time.Duration
	var watching sync.WaitGroup
	watching.Go(func() {
		for last := time.Now(); pause(ctx, tick); last = time.Now() {
			longest = max(longest, time.Since(last)-tick)
		}
	})
	return func() time.Duration {
		cancel()
		watching.Wait()
		return longest
	}
}

func (d *driver) try(ctx context.Context, number int, s scenario) (result, error) {
	r := result{scenario: s}
	began := time.Now()
	b, err := d.ready(ctx, s)
	if err != nil {
		r.problems = []string{"formation: " + err.Error()}
		return r, d.keep(&r, nil)
	}
	rng := rand.New(rand.NewPCG(d.seed, uint64(number))) //#nosec G115 G404 -- a seed repeats the run
	t := &trial{
		scenario: s, c: b.c, net: b.net, nodes: b.nodes, rng: rng,
		paused: make(map[*procs.Node]bool), gone: make(map[*procs.Node]bool),
	}
	t.watch = watch(ctx, b.ledger, b.nodes)
	t.load = startLoad(ctx, b.nodes, s.name, rng.Uint64(), s.optimist)
	d.examine(ctx, t, b)
	t.watch.stop()
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	r.figures, r.problems, r.took = t.notes, t.faults, time.Since(began)
	r.problems = s.expected(r.problems)
	for _, n := range b.c.Nodes {
		if t.gone[n] && n.Running() {
			r.problems = append(r.problems, "process: "+n.ID+" was to be gone and runs")
		}
	}
	if len(r.problems) > 0 {
		return r, d.keep(&r, t)
	}
	if s.mutant != "" {
		return r, d.close()
	}
	return r, nil
}

// expected turns the verdict of a mutant around: its check must have failed.
func (s scenario) expected(problems []string) []string {
	if s.mutant == "" {
		return problems
	}
	for _, p := range problems {
		if strings.HasPrefix(p, s.mutant+": ") {
			return nil
		}
	}
	return append([]string{"mutant: the check \"" + s.mutant + "\" did not notice it"}, problems...)
}

// examine has the fault happen and holds everything against the promises.
func (d *driver) examine(ctx context.Context, t *trial, b *bed) {
	defer t.load.end()
	started := time.Now()
	pause(ctx, warm)
	// On a machine that is busy with other things it takes longer.
	for t.load.answered(started, time.Now()) < enough && time.Since(started) < warmWithin && pause(ctx, warm/10) {
	}
	before := b.ledger.spent()
	t.began = time.Now()
	if t.load.answered(started, t.began) < enough {
		t.fail("traffic", "only %d operations were answered before the fault", t.load.answered(started, t.began))
	}
	if err := t.run(ctx, t); err != nil {
		t.fail("scenario", "%v (%s)", err, t.state())
	}
	t.healed = time.Now()
	if least := max(t.traffic, enough); t.traffic >= 0 && t.load.answered(t.began, t.healed) < least {
		t.fail("traffic", "only %d operations were answered during the fault, want %d", t.load.answered(t.began, t.healed), least)
	}
	if !t.leave {
		if err := t.heal(ctx); err != nil {
			t.fail("scenario", "healing: %v", err)
		}
	}
	if err := t.agree(ctx, agreeWithin); err != nil {
		t.fail("agree", "%v", err)
	} else {
		t.figure("whole %s after its end", short(time.Since(t.healed)))
	}
	pause(ctx, cool)
	t.load.end()
	d.conclude(ctx, t, b, before)
}

// conclude checks what is left when the clients have stopped.
func (d *driver) conclude(ctx context.Context, t *trial, b *bed, before uint64) {
	t.net.lab.Heal() // for a mutant that healed nothing: its history must be read
	if err := t.load.readAll(ctx); err != nil {
		t.fail("history", "%v", err)
	}
	if !t.optimist {
		if err := t.equal(ctx, agreeWithin); err != nil {
			t.fail("replicas", "%v", err)
		}
	}
	n, failed := t.load.history.Count()
	switch t.load.history.Check(checkWithin) {
	case porcupine.Illegal:
		t.fail("history", "it is not linearizable: an acknowledged write was lost, or an old value was read")
	case porcupine.Unknown:
		t.fail("history", "%d operations could not be checked in %v", n, checkWithin)
	}
	problems, claims := b.ledger.verdict()
	for _, p := range problems {
		t.fail("primaries", "%s", p)
	}
	if claims < enough {
		t.fail("traffic", "nodes answered only %d times what they own", claims)
	}
	spent := b.ledger.spent() - before
	if !t.afford(spent) {
		t.fail("epochs", "%d were spent, at most %d may be", spent, max(0, t.epochs))
	}
	t.figure("%d epochs; %d operations, %d failed", spent, n, failed)
}

// equal waits until all in-sync replicas of each partition hold as many
// records as one another.
func (t *trial) equal(ctx context.Context, within time.Duration) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: t.nodes.tls}}
	defer client.CloseIdleConnections()
	var err error
	for began := time.Now(); time.Since(began) < within && ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		if err = t.compare(ctx, client); err == nil {
			return nil
		}
	}
	return err
}

// stats is what is read of GET /kv/stats.
type stats struct {
	Partitions []struct {
		Partition, Role  string
		Epoch            uint64
		Keys, Tombstones int
	}
}

func (t *trial) compare(ctx context.Context, client *http.Client) error {
	held := make(map[string]map[string]int)
	for _, n := range t.c.Alive() {
		var s stats
		if err := fetch(ctx, client, n.KVURL("/kv/stats"), &s); err != nil {
			return err
		}
		for _, p := range s.Partitions {
			if held[p.Partition] == nil {
				held[p.Partition] = make(map[string]int)
			}
			if p.Role == "primary" || p.Role == topology.ReplicaInSync.String() {
				held[p.Partition][n.ID] = p.Keys + p.Tombstones
			}
		}
	}
	for id, by := range held {
		first := -1
		for _, n := range by {
			if first >= 0 && n != first {
				return fmt.Errorf("replicas of %s hold different numbers of records: %v", id, by)
			}
			first = n
		}
	}
	if len(held) != partitions {
		return fmt.Errorf("only %d of %d partitions are held by anybody", len(held), partitions)
	}
	return nil
}

// keep moves the evidence of a failure out of the run's directory, and the
// cluster ends.
func (d *driver) keep(r *result, t *trial) error {
	dir, err := os.MkdirTemp("", "clusterkit-faults-failed-"+r.name+"-")
	if err != nil {
		return err
	}
	r.kept = dir
	text := fmt.Sprintf("scenario %s, seed %d\n%s\n%s\n", r.name, d.seed, strings.Join(r.figures, "\n"), strings.Join(r.problems, "\n"))
	errs := []error{os.WriteFile(filepath.Join(dir, "problems.txt"), []byte(text), 0o644)} //#nosec G306 -- a report, for everybody to read
	if t != nil {
		errs = append(errs, os.WriteFile(filepath.Join(dir, "history.txt"), []byte(t.load.history.String()), 0o644)) //#nosec G306 -- a report, for everybody to read
		if slices.ContainsFunc(r.problems, func(p string) bool { return strings.HasPrefix(p, "history: ") }) {
			errs = append(errs, t.load.history.Visualize(filepath.Join(dir, "history.html")))
		}
	}
	if d.lab != nil {
		// Their last words are what every goroutine does.
		for _, n := range d.lab.c.Alive() {
			_ = syscall.Kill(n.PID(), syscall.SIGQUIT) // it may have ended
		}
		for began := time.Now(); len(d.lab.c.Alive()) > 0 && time.Since(began) < 3*time.Second; {
			pause(context.Background(), 10*time.Millisecond)
		}
		d.lab.c.Close()
		errs = append(errs, unmountAll(d.lab.c.Dir), os.Rename(d.lab.c.Dir, filepath.Join(dir, "nodes")))
	}
	return errors.Join(append(errs, d.close())...)
}

// short is a duration as the table has it.
func short(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}

// mapOf asks one node for its map.
func mapOf(ctx context.Context, n *procs.Node) (*topology.Document, error) {
	var d topology.Document
	return &d, fetch(ctx, n.Client(), n.URL("/cluster"), &d)
}
