package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/topology"
)

// cert is the command that makes what Options.TLS needs.
type cert struct {
	CA     certCA     `cmd:"" help:"Make the authority that signs the certificates of a cluster."`
	Node   certNode   `cmd:"" help:"Make the certificate of a node."`
	Client certClient `cmd:"" help:"Make the certificate of a client of the HTTP API. It is no node's."`
}

// Help implements kong.HelpProvider.
func (*cert) Help() string {
	return `How to, on one machine that only you can use:

    clusterkit cert ca
    clusterkit cert node node-1 --host 10.0.0.1
    clusterkit cert node node-2 --host 10.0.0.2
    clusterkit keys generate

Give node-1 ca.pem, node-1.pem and node-1-key.pem (Options.TLS), and every node the gossip key (Options.GossipKeys). ca-key.pem makes nodes: it stays where it is, and no node needs it. Nothing that exists is overwritten.`
}

// certDir is where the files of an authority are.
type certDir struct {
	Dir string `type:"path" default:"certs" placeholder:"DIR" help:"Directory of ca.pem, ca-key.pem and what they sign. Default: certs."`
}

const (
	caCert  = "ca.pem"
	caKey   = "ca-key.pem"
	oneDay  = 24 * time.Hour
	maxDays = 36500
)

// write writes a certificate and its key, for the owner alone, and overwrites nothing.
func (d certDir) write(name string, p certs.Pair) (certFile, keyFile string, err error) {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(d.Dir, name+".pem"), filepath.Join(d.Dir, name+"-key.pem")
	for _, f := range []string{certFile, keyFile} {
		if _, err := os.Lstat(f); err == nil {
			return "", "", fmt.Errorf("%s exists: nothing was written; remove it, or use another --dir", f)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
	}
	if err := create(keyFile, p.Key); err != nil {
		return "", "", err
	}
	if err := create(certFile, p.Cert); err != nil {
		return "", "", errors.Join(err, os.Remove(keyFile))
	}
	return certFile, keyFile, nil
}

// create writes a file that does not exist yet; when it fails nothing is left.
func create(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //#nosec G304 -- whoever runs the command says where to write
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// authority reads the authority.
func (d certDir) authority() (certs.Pair, error) {
	var p certs.Pair
	var err error
	if p.Cert, err = os.ReadFile(filepath.Join(d.Dir, caCert)); err == nil {
		p.Key, err = os.ReadFile(filepath.Join(d.Dir, caKey))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("%w: make an authority with `clusterkit cert ca`, or name its directory with --dir", err)
	}
	return p, err
}

// lasting is how long a certificate holds.
func lasting(days int) (time.Duration, error) {
	if days < 1 || days > maxDays {
		return 0, fmt.Errorf("--days %d: use 1 to %d", days, maxDays)
	}
	return time.Duration(days) * oneDay, nil
}

type certCA struct {
	certDir
	Name string `default:"ClusterKit" help:"Name of the authority, for people."`
	Days int    `default:"3650" help:"How many days it holds."`
}

// Run implements the command.
func (c *certCA) Run(e *env) error {
	lasts, err := lasting(c.Days)
	if err != nil {
		return err
	}
	p, err := certs.NewCA(c.Name, e.now(), lasts)
	if err != nil {
		return err
	}
	cert, key, err := c.write("ca", p)
	if err != nil {
		return err
	}
	say(e.out, "%s  the authority, for every node and every client\n%s  makes nodes: keep it here, and to yourself\n", cert, key)
	return nil
}

// issued are the flags of what an authority signs.
type issued struct {
	certDir
	Host   []string `placeholder:"HOST" help:"Name or IP address of the HTTP API, for browsers; repeat for each. Nodes need none."`
	Domain string   `default:"clusterkit" help:"What the names of roles end in (Options.TLS.Domain)."`
	Days   int      `default:"365" help:"How many days it holds."`
}

// sign makes one certificate and says where it is.
func (i issued) sign(e *env, name string, r certs.Request) error {
	lasts, err := lasting(i.Days)
	if err != nil {
		return err
	}
	if err := certs.ValidDomain(i.Domain); err != nil {
		return fmt.Errorf("--domain %w", err)
	}
	ca, err := i.authority()
	if err != nil {
		return err
	}
	r.Domain, r.Hosts, r.CommonName, r.From, r.For = i.Domain, i.Host, name, e.now(), lasts
	p, err := ca.Issue(r)
	if err != nil {
		return err
	}
	cert, key, err := i.write(name, p)
	if err != nil {
		return err
	}
	say(e.out, "%s  until %s\n%s\n", cert, e.now().Add(lasts).UTC().Format(time.DateOnly), key)
	return nil
}

type certNode struct {
	issued
	NodeID []string `arg:"" optional:"" name:"node-id" help:"NodeID that it is good for; several make one certificate for several nodes."`
	Any    bool     `help:"Good for any NodeID: who has it may join under every name that is free."`
}

// Run implements the command.
func (c *certNode) Run(e *env) error {
	if c.Any == (len(c.NodeID) > 0) {
		return errors.New("name the NodeID that the certificate is for, or say --any")
	}
	name := "node"
	for _, id := range c.NodeID {
		if err := (topology.Node{ID: id, UUID: "probe", Incarnation: 1}).Validate(); err != nil {
			return err
		}
		name = c.NodeID[0]
	}
	return c.sign(e, name, certs.Request{Role: certs.Node, NodeIDs: c.NodeID})
}

type certClient struct {
	issued
	Name string `arg:"" help:"Name of the client, for people."`
}

// Run implements the command.
func (c *certClient) Run(e *env) error {
	if c.Name == "" || strings.ContainsAny(c.Name, `/\`) || strings.HasPrefix(c.Name, ".") {
		return fmt.Errorf("%q: a client's name is also that of its files: use no slash, and no dot at its beginning", c.Name)
	}
	return c.sign(e, c.Name, certs.Request{Role: certs.Client})
}
