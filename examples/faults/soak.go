package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	soakName = "soak"
	// flat is by how much memory may grow, and goroutines and sockets: a leak of
	// one per fault is more than that.
	flat = 0.10
	// calmWithin is how long connections that nobody uses may stay.
	calmWithin = 75 * time.Second
	// warmWrites values of warmBytes each go to warmKeys keys before the second
	// half: 32 MiB in all, and so 19 MiB to each of five nodes, of whose tables in
	// memory the first six take 12.
	warmWrites, warmBytes, warmKeys = 512, 64 << 10, 64
	letters                         = "abcdefghijklmnopqrstuvwxyz" // of these values
)

var soakScenario = scenario{
	name:    soakName,
	promise: "random faults, one after the other, on the same five nodes; in the second half only those that end no process: nothing is left of them",
	check:   "everything above after each fault; sockets, files and goroutines of all processes as at half time; memory of the last quarter within 10 % of the third's",
}

// survivable begins the names of scenarios after which every process still runs.
var survivable = []string{"hang-", "cut-", "split-", "one-way-", "loss-", "delay-", "reordering", "corruption", "disk-slow", "disk-hung-", "disk-shared"}

// soakable returns the scenarios that a cluster may go through again and again.
func soakable(all []scenario) (any, mild []scenario) {
	for _, s := range all {
		if s.fresh || s.nodes != 0 || s.env != nil || s.prepare != nil || s.secure || s.mutant != "" {
			continue
		}
		s.epochs = anyEpochs // one that follows another is not judged alone
		any = append(any, s)
		if slices.ContainsFunc(survivable, func(p string) bool { return strings.HasPrefix(s.name, p) }) {
			mild = append(mild, s)
		}
	}
	return any, mild
}

// census is what all processes have together.
type census struct {
	goroutines, sockets, files int
	resident                   int // KiB
	pids                       string
}

// count takes a census. Files of the store below kv are left out: their number
// goes with the data.
func count(ctx context.Context, c *procs.Cluster) (census, error) {
	var all census
	for _, n := range c.Nodes {
		pid := n.PID()
		all.pids += strconv.Itoa(pid) + " "
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			return all, err
		}
		for _, fd := range fds {
			switch to, err := os.Readlink(fd); {
			case err != nil || strings.Contains(to, "/data/kv/"): // closed meanwhile
			case strings.HasPrefix(to, "socket:"):
				all.sockets++
			default:
				all.files++
			}
		}
		resident, err := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
		if err != nil {
			return all, err
		}
		all.resident += resident
		g, err := gauge(ctx, n, "clusterkit_goroutines")
		if err != nil {
			return all, err
		}
		all.goroutines += g
	}
	return all, nil
}

// field returns the number behind a name at the beginning of a line.
func field(path, name string) (int, error) {
	b, err := os.ReadFile(path) //#nosec G304 -- below /proc
	if err != nil {
		return 0, err
	}
	return numberOf(string(b), name)
}

func numberOf(text, name string) (int, error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == name {
			v, err := strconv.ParseFloat(f[1], 64)
			return int(v), err
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

// gauge asks a node for a metric.
func gauge(ctx context.Context, n *procs.Node, name string) (int, error) {
	var text textAnswer
	if err := fetchText(ctx, n, "/metrics", &text); err != nil {
		return 0, err
	}
	return numberOf(string(text), name)
}

type textAnswer string

// fetchText gets a text over a connection of its own.
func fetchText(ctx context.Context, n *procs.Node, path string, into *textAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL(path), nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := n.Client().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var b strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&b); err != nil {
		return err
	}
	*into = textAnswer(b.String())
	return nil
}

// soak has faults happen for a while, and writes its row.
func (o *options) soak(ctx context.Context, d *driver) (err error) {
	defer func() { err = errors.Join(err, d.close()) }()
	d.soaking = true
	k := &soaking{d: d, rng: rand.New(rand.NewPCG(o.seed, 1))} //#nosec G404 -- a seed repeats the run
	began := time.Now()
	any, mild := soakable(all())
	r := result{scenario: soakScenario}
	if r.problems, err = k.until(ctx, began.Add(o.soakFor/2), any, nil); err == nil && len(r.problems) == 0 {
		if err = k.halfTime(ctx); err == nil {
			r.problems, err = k.until(ctx, began.Add(o.soakFor), mild, &k.second)
		}
	}
	if err != nil {
		return err
	}
	if len(r.problems) == 0 {
		if err := k.calm(ctx, k.half, &k.end); err != nil {
			return err
		}
		r.figures, r.problems = k.verdict(time.Since(began))
	}
	r.took = time.Since(began)
	tell(r, o.seed)
	if o.table != "" {
		err = writeTable(o.table, []result{r}, o.when())
	}
	if len(r.problems) > 0 {
		err = errors.Join(err, errors.New("the soak failed"))
	}
	return err
}

// soaking is a soak under way.
type soaking struct {
	d         *driver
	rng       *rand.Rand
	rounds    int
	half, end census
	second    []census // after each fault of the second half
	anew      int      // how often that began again
}

// until performs scenarios until a moment, and returns what failed.
func (k *soaking) until(ctx context.Context, end time.Time, from []scenario, counts *[]census) ([]string, error) {
	for time.Now().Before(end) {
		s := from[k.rng.IntN(len(from))]
		k.rounds++
		s.name += "-" + strconv.Itoa(k.rounds) // keys of its own
		r, err := k.d.perform(ctx, k.rounds, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		tell(r, k.d.seed)
		if len(r.problems) > 0 {
			return append([]string{"fault " + s.name + ", evidence in " + r.kept}, r.problems...), nil
		}
		c, err := count(ctx, k.d.lab.c)
		if err != nil {
			return nil, err
		}
		fmt.Printf("        %d goroutines, %d sockets, %d files, %d MB\n", c.goroutines, c.sockets, c.files, c.resident>>10)
		if counts == nil {
			continue
		}
		if r.anew {
			// The processes of half time are gone, and with them what these could
			// be compared with.
			fmt.Println("        the second half begins again, with the new processes")
			if err := k.halfTime(ctx); err != nil {
				return nil, err
			}
			k.anew++
			*counts = nil
			continue
		}
		*counts = append(*counts, c)
	}
	return nil, nil
}

// halfTime takes the census that the end is compared with.
func (k *soaking) halfTime(ctx context.Context) error {
	if err := k.warm(ctx); err != nil {
		return fmt.Errorf("before the second half: %w", err)
	}
	return k.calm(ctx, census{}, &k.half)
}

// warm writes until what the stores keep in memory has its size: the tables of
// young processes double from one to the next, which by the clients' small
// values takes a quarter of an hour, and looks like a leak.
func (k *soaking) warm(ctx context.Context) error {
	w := &load{client: &http.Client{Timeout: opWithin, Transport: &http.Transport{}}}
	defer w.client.CloseIdleConnections()
	nodes := k.d.lab.c.Nodes
	value := make([]byte, warmBytes)
	for i := range warmWrites + warmKeys {
		if i == warmWrites {
			value = value[:1] // the last value of each key
		}
		for j := range value {
			value[j] = letters[k.rng.IntN(len(letters))]
		}
		key := fmt.Sprintf("warm-%d-%d", k.rounds, i%warmKeys)
		if err := w.set(target{kv: nodes[i%len(nodes)].KVURL("")}, key, string(value)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// calm waits until the processes have no more than they had, or else until no
// unused connection can be left, and takes a census.
func (k *soaking) calm(ctx context.Context, had census, into *census) error {
	for began := time.Now(); ; {
		c, err := count(ctx, k.d.lab.c)
		if err != nil {
			return err
		}
		*into = c
		if had.pids != "" && !above(c.sockets, had.sockets) && !above(c.goroutines, had.goroutines) || time.Since(began) > calmWithin {
			return nil
		}
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

func above(now, before int) bool { return float64(now) > float64(before)*(1+flat) }

// verdict compares the halves.
func (k *soaking) verdict(took time.Duration) (figures, problems []string) {
	if k.half.pids != k.end.pids {
		problems = append(problems, "processes: not all of them lived through the second half: "+k.half.pids+"became "+k.end.pids)
	}
	for _, c := range []struct {
		what        string
		half, ended int
	}{{"goroutines", k.half.goroutines, k.end.goroutines}, {"sockets", k.half.sockets, k.end.sockets}, {"files", k.half.files, k.end.files}} {
		figures = append(figures, fmt.Sprintf("%s %d, then %d", c.what, c.half, c.ended))
		if above(c.ended, c.half) {
			problems = append(problems, fmt.Sprintf("leak: %d %s at half time, %d at the end", c.half, c.what, c.ended))
		}
	}
	if len(k.second) < 4 {
		return figures, append(problems, fmt.Sprintf("traffic: only %d faults in the second half: soak longer", len(k.second)))
	}
	third, last := median(k.second[:len(k.second)/2]), median(k.second[len(k.second)/2:])
	figures = append(figures, fmt.Sprintf("memory of all five %d MB, then %d MB", third>>10, last>>10))
	if above(last, third) {
		problems = append(problems, fmt.Sprintf("leak: memory grew from %d MB to %d MB", third>>10, last>>10))
	}
	if k.anew > 0 {
		figures = append(figures, fmt.Sprintf("the machine stood still, so that these are of the last %d faults", len(k.second)))
	}
	return append([]string{fmt.Sprintf("%d faults in %s", k.rounds, took.Round(time.Second))}, figures...), problems
}

// median returns the median memory.
func median(c []census) int {
	var all []int
	for _, v := range c {
		all = append(all, v.resident)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
