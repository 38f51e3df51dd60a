package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
	"github.com/skshohagmiah/clusterkit/topology"
)

// instance is one node that offers a service.
type instance struct {
	Node string `json:"node"`
	Addr string `json:"addr"`
	Zone string `json:"zone,omitempty"`
}

// services returns the instances of every service, in order of the nodes' ids.
// Only active nodes count: one that has died is gone from here as soon as the
// cluster has committed that. Pure.
func services(t *clusterkit.Topology) map[string][]instance {
	all := map[string][]instance{}
	for _, n := range t.Nodes {
		if n.State != topology.NodeActive {
			continue
		}
		for name, addr := range n.Services {
			all[name] = append(all[name], instance{Node: n.ID, Addr: addr, Zone: n.Zone})
		}
	}
	return all
}

// change is what a watcher is told.
type change struct {
	Kind string `json:"kind"` // flag or service
	Name string `json:"name"`
	// Flag is the flag as it is now; null when it was deleted.
	Flag *flags.Record `json:"flag,omitempty"`
	// Instances are the service's as they are now.
	Instances []instance `json:"instances,omitempty"`
	Gone      bool       `json:"gone,omitempty"` // deleted, or without an instance
}

// changes returns what differs between two topologies, sorted: flags, then
// services. Each says how things are now, so that one which was missed or told
// twice does no harm. Pure.
func changes(before, after *clusterkit.Topology) []change {
	var all []change
	had, has := flagsOf(before), flagsOf(after)
	for _, name := range union(had, has) {
		old, was := had[name]
		now, is := has[name]
		switch {
		case !is:
			all = append(all, change{Kind: "flag", Name: name, Gone: true})
		case !was || old.Version != now.Version:
			all = append(all, change{Kind: "flag", Name: name, Flag: &now})
		}
	}
	offered, offers := services(before), services(after)
	for _, name := range union(offered, offers) {
		if !slices.Equal(offered[name], offers[name]) {
			all = append(all, change{Kind: "service", Name: name, Instances: offers[name], Gone: len(offers[name]) == 0})
		}
	}
	return all
}

// flagsOf returns what can be read as flags.
func flagsOf(t *clusterkit.Topology) map[string]flags.Record {
	all := map[string]flags.Record{}
	for _, d := range t.Data {
		if !strings.HasPrefix(d.Key, flags.Prefix) {
			continue
		}
		if r, err := flags.Decode(d.Key, d.Value, d.Version); err == nil {
			all[r.Name] = r
		}
	}
	return all
}

// union returns the keys of both maps in order, each once.
func union[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}
