package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/skshohagmiah/clusterkit/topology"
)

// key is the command that locates a key.
type key struct {
	api
	Key  string `arg:"" help:"The key."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// keyJSON is the part of GET /partitions/key that is shown.
type keyJSON struct {
	Key       string `json:"key"`
	Partition struct {
		ID    string `json:"id"`
		State string `json:"state"`
	} `json:"partition"`
	Epoch    uint64                  `json:"epoch"`
	Primary  *topology.NodeDocument  `json:"primary"`
	Replicas []topology.NodeDocument `json:"replicas"`
}

// Run implements the command.
func (c *key) Run(e *env) error {
	var k keyJSON
	if err := c.get(e.ctx, "partitions/key", url.Values{"key": {c.Key}}, &k); err != nil {
		return err
	}
	if k.Partition.ID == "" {
		return c.stranger(c.Addr.base.JoinPath("partitions/key"), "with JSON of another shape")
	}
	if c.JSON {
		return printJSON(e.out, k)
	}
	printKey(e.out, k)
	return nil
}

func printKey(out io.Writer, k keyJSON) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(w, "key\t%q\npartition\t%s (%s, epoch %d)\n", k.Key, k.Partition.ID, k.Partition.State, k.Epoch)
	primary := "none"
	if k.Primary != nil {
		primary = place(*k.Primary)
	}
	say(w, "primary\t%s\n", primary)
	for i, r := range k.Replicas {
		name := ""
		if i == 0 {
			name = "replicas"
		}
		say(w, "%s\t%s\n", name, place(r))
	}
	_ = w.Flush() // standard output is gone: nobody to tell
}

func place(n topology.NodeDocument) string {
	if n.Status != topology.NodeActive.String() {
		return fmt.Sprintf("%s %s (%s)", n.ID, n.IP, n.Status)
	}
	return n.ID + " " + n.IP
}
