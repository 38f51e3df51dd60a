package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// keys are the commands around the keys of gossip. An exchange is generate,
// install, use, remove, in this order.
type keys struct {
	Generate keysGenerate `cmd:"" help:"Print a new random key, for GossipKeys or for install."`
	List     keysList     `cmd:"" help:"Show which node has which keys, by their fingerprints."`
	Install  keysInstall  `cmd:"" help:"Give every node a key that it decrypts with."`
	Use      keysUse      `cmd:"" help:"Have every node encrypt with a key that all of them hold."`
	Remove   keysRemove   `cmd:"" help:"Have every node forget a key that none of them encrypts with."`
}

type keysGenerate struct{}

// Run implements the command.
func (c *keysGenerate) Run(e *env) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	say(e.out, "%s\n", base64.StdEncoding.EncodeToString(key))
	return nil
}

type keysList struct {
	api
	JSON bool `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *keysList) Run(e *env) error {
	var r keysJSON
	if err := c.get(e.ctx, "gossip/keys", nil, &r); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, r)
	}
	return printKeys(e.out, r)
}

type keysInstall struct {
	api
	// A key as an argument would be seen by others on the machine.
	File string `arg:"" help:"File with the key in base64, as generate prints it; - reads standard input."`
}

// Run implements the command.
func (c *keysInstall) Run(e *env) error {
	key, err := readKey(e.in, c.File)
	if err != nil {
		return err
	}
	return c.step(e, "install", map[string][]byte{"key": key})
}

type keysUse struct {
	api
	Fingerprint string `arg:"" help:"The key, as list shows it."`
}

// Run implements the command.
func (c *keysUse) Run(e *env) error {
	return c.step(e, "use", map[string]string{"fingerprint": c.Fingerprint})
}

type keysRemove struct {
	api
	Fingerprint string `arg:"" help:"The key, as list shows it."`
}

// Run implements the command.
func (c *keysRemove) Run(e *env) error {
	return c.step(e, "remove", map[string]string{"fingerprint": c.Fingerprint})
}

// step takes one step of an exchange and shows how it stands.
func (a api) step(e *env, name string, what any) error {
	var r keysJSON
	if err := a.post(e.ctx, "gossip/keys/"+name, what, &r); err != nil {
		return err
	}
	return printKeys(e.out, r)
}

// keysJSON is the answer of /gossip/keys.
type keysJSON struct {
	Nodes []struct {
		Node    string   `json:"node"`
		Active  bool     `json:"active"`
		Primary string   `json:"primary"`
		Keys    []string `json:"keys"`
		Problem string   `json:"problem,omitempty"`
	} `json:"nodes"`
}

// maxKeyFile bounds a key file: 44 characters are enough.
const maxKeyFile = 4 << 10

// readKey reads a key in base64. The error does not show it.
func readKey(in io.Reader, name string) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name) //#nosec G304 -- whoever runs the command says which file
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if n := len(key); err != nil || n != 16 && n != 24 && n != 32 {
		return nil, errors.New("the file holds no key: write 16, 24 or 32 random bytes in base64, as clusterkit keys generate does")
	}
	return key, nil
}

// printKeys prints who has what; a node that does not answer is an error only
// if it should be there.
func printKeys(out io.Writer, r keysJSON) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(w, "NODE\tENCRYPTS WITH\tDECRYPTS WITH TOO\n")
	silent := 0
	for _, n := range r.Nodes {
		primary, others := n.Primary, strings.Join(slices.DeleteFunc(slices.Clone(n.Keys), func(k string) bool { return k == n.Primary }), " ")
		switch {
		case n.Problem != "" && n.Active:
			silent++
			primary, others = "?", n.Problem
		case n.Problem != "":
			primary, others = "?", "it is down"
		case primary == "":
			primary = "no key"
		}
		if others == "" {
			others = "-"
		}
		say(w, "%s\t%s\t%s\n", n.Node, primary, others)
	}
	_ = w.Flush() // standard output is gone: nobody to tell
	if silent > 0 {
		return fmt.Errorf("active nodes that did not answer: %d: ask again", silent)
	}
	return nil
}
