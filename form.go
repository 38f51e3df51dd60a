package clusterkit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// A node must know its ClusterID before it opens its cluster port: the ID
// tells streams and gossip of other clusters apart. It comes, in this order,
// from DataDir, from founding, or from a member that the node joins.

const (
	// askTimeout bounds one question to a member's HTTP API.
	askTimeout = 2 * time.Second
	// maxAnswer bounds what a member's HTTP API may answer: the largest
	// cluster's map stays below it.
	maxAnswer = 64 << 20
	// maxSeed is the longest gossip address that is tried: a DNS name and a port.
	maxSeed = 255 + 6
	// joinBackoffMin and joinBackoffMax bound the pause between attempts to
	// find a cluster; attempts never end.
	joinBackoffMin = 100 * time.Millisecond
	joinBackoffMax = 5 * time.Second
	// foundListen is how long a founder listens for members of another cluster:
	// its voters ask every 0.5 s for nodes that are not there.
	foundListen = 700 * time.Millisecond
)

// way is how a node enters its cluster.
type way struct {
	clusterID string
	// found is true when this node founds the cluster.
	found bool
	// seeds are gossip addresses of members, to begin with.
	seeds []string
}

// errNoCluster is a member's answer that it belongs to no cluster yet.
var errNoCluster = errors.New("it belongs to no cluster yet (is it this node itself, or one that still joins?)")

// errNoWay: nothing says which cluster this node belongs to, and nothing will.
var errNoWay = errors.New("clusterkit: this node has no way into a cluster")

// enter finds this node's way into its cluster, asking once. An error that
// wraps ErrRefused or errNoWay is final; after any other it helps to ask again.
func (c *ClusterKit) enter(ctx context.Context) (way, error) {
	s := &c.settings
	if id := c.identity.ClusterID(); id != "" {
		// A founder that crashed between choosing the ID and its first log
		// entry founds again, under the same ID.
		w := way{clusterID: id, found: s.Bootstrap || c.isFounder()}
		if s.JoinAddr != "" {
			switch d, seeds, err := c.ask(ctx, s.JoinAddr); {
			case err != nil: // the log knows the members, and so will gossip
			case d.Cluster.ID != id:
				return way{}, fmt.Errorf("%w: DataDir %s belongs to cluster %s, JoinAddr %s to cluster %s: correct one of them, or wipe the whole DataDir to join as a new node",
					ErrRefused, s.DataDir, id, s.JoinAddr, d.Cluster.ID)
			default:
				w.seeds = seeds
			}
		}
		return w, nil
	}
	switch {
	case s.Bootstrap:
		return c.enterFirst(ctx)
	case len(s.founders) > 0:
		return c.enterInitial(ctx)
	case s.JoinAddr == "":
		return way{}, fmt.Errorf("%w: DataDir %s knows no cluster, and JoinAddr is empty: set JoinAddr to the HTTP address of a member, or Bootstrap on the first node of a new cluster",
			errNoWay, s.DataDir)
	}
	return c.join(ctx, s.JoinAddr)
}

// enterFirst founds a cluster, unless nodes of another one call this node: then
// it was a member of theirs and has lost its DataDir, and a second cluster would
// own every partition once more.
func (c *ClusterKit) enterFirst(ctx context.Context) (way, error) {
	s := &c.settings
	w := way{clusterID: rand.Text(), found: true}
	if _, number, _ := net.SplitHostPort(s.RaftAddr); number == "0" {
		return w, nil // nobody can know the port before it is opened
	}
	port, err := peer.Listen(peer.Config{Network: s.towardsNodes(), Addr: s.RaftAddr, ClusterID: w.clusterID, Security: c.portSecurity(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return way{}, fmt.Errorf("%w: %w", errNoWay, err)
	}
	ctx, cancel := context.WithTimeout(ctx, foundListen)
	ran := make(chan error, 1)
	go func() { ran <- port.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	select {
	case from := <-port.Foreign():
		return way{}, fmt.Errorf("%w: DataDir %s is empty, and the cluster of the node at %s knows this node by its RaftAddr %s: set JoinAddr to the HTTP address of one of its members, instead of Bootstrap (the default of node-1), to join it as a new node; to found another cluster, stop that one first or choose another RaftAddr",
			ErrRefused, s.DataDir, from, s.RaftAddr)
	case <-ctx.Done():
		return w, nil
	}
}

// isFounder reports whether this node founds the cluster of InitialMembers.
func (c *ClusterKit) isFounder() bool {
	return len(c.settings.founders) > 0 && c.settings.founders[0].id == c.settings.NodeID
}

// enterInitial joins the cluster of InitialMembers if any of them belongs to
// one, and founds it if this node is the one to do so.
func (c *ClusterKit) enterInitial(ctx context.Context) (way, error) {
	fresh := 1 // this node
	var errs []error
	for _, m := range c.settings.founders {
		if m.id == c.settings.NodeID {
			continue
		}
		w, err := c.join(ctx, m.addr)
		if err == nil || errors.Is(err, ErrRefused) {
			return w, err
		}
		if errors.Is(err, errNoCluster) {
			fresh++
		}
		errs = append(errs, err)
	}
	if !c.isFounder() {
		return way{}, fmt.Errorf("waiting for %s to found the cluster: %w", c.settings.founders[0].id, errors.Join(errs...))
	}
	if fresh < c.settings.BootstrapExpect {
		return way{}, fmt.Errorf("%d of the %d expected InitialMembers are reachable: %w", fresh, c.settings.BootstrapExpect, errors.Join(errs...))
	}
	return way{clusterID: rand.Text(), found: true}, nil
}

// join asks the member at an HTTP address for its cluster and checks that
// this node may belong to it.
func (c *ClusterKit) join(ctx context.Context, addr string) (way, error) {
	d, seeds, err := c.ask(ctx, addr)
	if err != nil {
		return way{}, fmt.Errorf("JoinAddr %s: %w", addr, err)
	}
	if err := c.agrees(d); err != nil {
		return way{}, fmt.Errorf("%w: %w (the cluster at %s)", ErrRefused, err, addr)
	}
	return way{clusterID: d.Cluster.ID, seeds: seeds}, nil
}

// agrees checks that what the options ask for is what the cluster has.
func (c *ClusterKit) agrees(d topology.Document) error {
	want, have := c.settings.wanted, d.Cluster.Config
	switch {
	case want.ClusterName != "" && want.ClusterName != have.ClusterName:
		return fmt.Errorf("Config.ClusterName is %q, the cluster's is %q: set the cluster's, or leave it empty", want.ClusterName, have.ClusterName)
	case want.PartitionCount != 0 && want.PartitionCount != have.PartitionCount:
		return fmt.Errorf("Config.PartitionCount is %d, the cluster's is %d: set the cluster's, or leave it 0", want.PartitionCount, have.PartitionCount)
	case want.ReplicationFactor != 0 && want.ReplicationFactor != have.ReplicationFactor:
		return fmt.Errorf("Config.ReplicationFactor is %d, the cluster's is %d: set the cluster's, or leave it 0", want.ReplicationFactor, have.ReplicationFactor)
	case c.settings.Hash != "" && c.settings.Hash != d.HashConfig.Algorithm:
		return fmt.Errorf("option Hash is %q, the cluster's is %q: set the cluster's, or leave it empty", c.settings.Hash, d.HashConfig.Algorithm)
	}
	if _, err := ring.ParseHash(d.HashConfig.Algorithm); err != nil {
		return fmt.Errorf("this node's version is too old: %w", err)
	}
	return nil
}

// ask fetches a member's map and the gossip addresses of its active nodes.
func (c *ClusterKit) ask(ctx context.Context, addr string) (topology.Document, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var d topology.Document
	if err := c.fetch(ctx, addr, "/cluster", &d); err != nil {
		return d, nil, err
	}
	var nodes struct {
		Nodes []struct {
			Status     string `json:"status"`
			GossipAddr string `json:"gossip_addr"`
		} `json:"nodes"`
	}
	if err := c.fetch(ctx, addr, "/nodes", &nodes); err != nil {
		return d, nil, err
	}
	var seeds []string
	for _, n := range nodes.Nodes {
		if _, _, err := net.SplitHostPort(n.GossipAddr); err == nil && n.Status == topology.NodeActive.String() && len(n.GossipAddr) <= maxSeed {
			seeds = append(seeds, n.GossipAddr)
		}
	}
	if d.Cluster.ID == "" || len(seeds) == 0 {
		return d, nil, errNoCluster
	}
	// What is kept in DataDir for good must be what a cluster can be founded as.
	have := d.Cluster.Config
	config := topology.Config{ClusterName: have.ClusterName, PartitionCount: have.PartitionCount, ReplicationFactor: have.ReplicationFactor}
	if err := (topology.Found{ClusterID: d.Cluster.ID, Config: config, Hash: d.HashConfig.Algorithm}).Validate(); err != nil {
		return d, nil, fmt.Errorf("GET /cluster: %w: is this a ClusterKit HTTP address?", err)
	}
	return d, seeds, nil
}

// fetch gets one JSON answer of a member's HTTP API. It follows no redirect:
// the address is the operator's, and no other is dialled.
func (c *ClusterKit) fetch(ctx context.Context, addr, path string, into any) error {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return c.settings.Network.DialContext(ctx, addr)
		},
		DisableKeepAlives: true,
	}
	scheme := "http://"
	if c.httpSecured() {
		scheme, transport.TLSClientConfig = "https://", c.certs.Client()
	}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := c.get(ctx, &client, scheme+addr+path)
	if err != nil {
		return fmt.Errorf("%w (is it the HTTP address of a member that runs?)", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusServiceUnavailable:
		return errNoCluster
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("GET %s answered %s: set AuthToken to the cluster's", path, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s answered %s: is this a ClusterKit HTTP address?", path, resp.Status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w: is this a ClusterKit HTTP address?", path, err)
	}
	return nil
}

// get asks without the token first, and with it when that is asked for: a
// token that nobody needs to see should not cross the network.
func (c *ClusterKit) get(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	token := ""
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || token != "" || c.settings.AuthToken == "" {
			return resp, err
		}
		_ = resp.Body.Close() // an error that is known by its status
		token = c.settings.AuthToken
	}
}

// backoff doubles from joinBackoffMin to joinBackoffMax with full jitter.
type backoff struct{ limit time.Duration }

// pause sleeps and reports whether ctx still runs.
func (b *backoff) pause(ctx context.Context) bool {
	b.limit = min(max(2*b.limit, joinBackoffMin), joinBackoffMax)
	t := time.NewTimer(b.limit/2 + mathrand.N(b.limit/2+1)) //#nosec G404 -- jitter is no secret
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
