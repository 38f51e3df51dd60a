package clusterkit

import (
	"strings"
	"testing"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   Options
		want Options
	}{
		{Options{NodeID: "node-1", HTTPAddr: ":8080"}, Options{NodeName: "Server-1", RaftAddr: "127.0.0.1:9001", GossipAddr: "127.0.0.1:10001", Bootstrap: true}},
		{Options{NodeID: "node-2", HTTPAddr: ":8081", JoinAddr: "localhost:8080"}, Options{NodeName: "Server-2", RaftAddr: "127.0.0.1:9002", GossipAddr: "127.0.0.1:10002"}},
		{Options{NodeID: "node-1", HTTPAddr: ":8080", JoinAddr: "localhost:8081"}, Options{NodeName: "Server-1", RaftAddr: "127.0.0.1:9001", GossipAddr: "127.0.0.1:10001"}},
		{Options{NodeID: "alpha", HTTPAddr: "10.0.0.1:80", RaftAddr: "10.0.0.1:7000", Bootstrap: true, Insecure: true}, Options{NodeName: "alpha", RaftAddr: "10.0.0.1:7000", GossipAddr: "10.0.0.1:8000", Bootstrap: true}},
	} {
		s, err := tc.in.resolve()
		if err != nil {
			t.Fatalf("%+v: %v", tc.in, err)
		}
		if s.NodeName != tc.want.NodeName || s.RaftAddr != tc.want.RaftAddr || s.GossipAddr != tc.want.GossipAddr || s.Bootstrap != tc.want.Bootstrap {
			t.Errorf("%s: %q %q %q %v", tc.in.NodeID, s.NodeName, s.RaftAddr, s.GossipAddr, s.Bootstrap)
		}
		if s.DataDir != "./clusterkit-data" || s.Weight != 1 || s.Logger == nil || s.Network == nil {
			t.Errorf("%s: defaults %+v", tc.in.NodeID, s.Options)
		}
		if s.config.ClusterName != "clusterkit-cluster" || s.config.PartitionCount != 16 || s.config.ReplicationFactor != 3 {
			t.Errorf("%s: %+v", tc.in.NodeID, s.config)
		}
	}
}

func TestWrongOptionsNameTheField(t *testing.T) {
	t.Parallel()
	good := Options{NodeID: "node-1", HTTPAddr: ":8080"}
	for _, tc := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.NodeID = "" }, "Options.NodeID"},
		{func(o *Options) { o.NodeID = "../x" }, "Options.NodeID"},
		{func(o *Options) { o.HTTPAddr = "" }, "Options.HTTPAddr is required"},
		{func(o *Options) { o.HTTPAddr = "8080" }, "Options.HTTPAddr"},
		{func(o *Options) { o.HTTPAddr = ":99999" }, "Options.HTTPAddr"},
		{func(o *Options) { o.HTTPAddr = ":65000" }, "Options.RaftAddr is required"},
		{func(o *Options) { o.RaftAddr = ":9001" }, "Options.RaftAddr"},
		{func(o *Options) { o.RaftAddr = "0.0.0.0:9001" }, "Options.RaftAddr"},
		{func(o *Options) { o.GossipAddr = "x" }, "Options.GossipAddr"},
		{func(o *Options) { o.JoinAddr = "nowhere" }, "Options.JoinAddr"},
		{func(o *Options) { o.Bootstrap, o.JoinAddr = true, "a:1" }, "exclude each other"},
		{func(o *Options) { o.Weight = -1 }, "Weight"},
		{func(o *Options) { o.Services = map[string]string{"a b": "x"} }, "Services"},
		{func(o *Options) { o.Zone = strings.Repeat("z", 100) }, "Zone"},
		{func(o *Options) { o.Hash = "crc" }, "Options.Hash"},
		{func(o *Options) { o.Config = &Config{PartitionCount: -1} }, "Options.Config.PartitionCount"},
		{func(o *Options) { o.Config = &Config{ReplicationFactor: 99} }, "Options.Config.ReplicationFactor"},
		{func(o *Options) { o.MaxVoters = 4 }, "Options.MaxVoters"},
		{func(o *Options) { o.AuthToken = "secret" }, "Options.AuthToken has 6 characters"},
		{func(o *Options) { o.AuthToken = strings.Repeat("x", 513) }, "Options.AuthToken has 513 characters"},
		{func(o *Options) { o.AuthToken = "0123456789abcdef\n" }, "Options.AuthToken has a character"},
		{func(o *Options) { o.AuthToken = "0123456789 abcdef" }, "Options.AuthToken has a character"},
		{func(o *Options) { o.AuthReads = true }, "Options.AuthReads needs AuthToken"},
		{func(o *Options) { o.Profile = "moon" }, "Options.Profile"},
		{func(o *Options) { o.InitialMembers = []string{"node-1"} }, "Options.InitialMembers"},
		{func(o *Options) { o.BootstrapExpect = 3 }, "Options.BootstrapExpect"},
		{func(o *Options) {
			o.InitialMembers, o.BootstrapExpect = []string{"node-1=a:1", "node-2=b:1", "node-3=c:1"}, 1
		}, "two clusters"},
	} {
		o := good
		tc.change(&o)
		if _, err := NewClusterKit(o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want an error with %q", err, tc.want)
		}
	}
	_, err := NewClusterKit(Options{Weight: -1, MaxVoters: 2})
	for _, field := range []string{"NodeID", "HTTPAddr", "MaxVoters"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s as well", err, field)
		}
	}
}
