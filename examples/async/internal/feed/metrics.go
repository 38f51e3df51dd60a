package feed

import "github.com/prometheus/client_golang/prometheus"

var (
	lagDesc = prometheus.NewDesc("kv_replication_lag_writes",
		"Writes that a replica lacks, as its primary knows it.", []string{"partition", "replica", "in_sync"}, nil)
	behindDesc = prometheus.NewDesc("kv_replication_behind_seconds",
		"How long ago this node, as a replica, had all that its primary had; -1 for never.", []string{"partition"}, nil)
	boundDesc = prometheus.NewDesc("kv_replication_max_lag_writes",
		"Writes that an in-sync replica may lack before writes are refused.", nil, nil)
)

// total is a counter as it is described.
type total struct {
	desc *prometheus.Desc
	of   func(s *Stats) uint64
}

var totals = []total{
	{counterDesc("kv_writes_total", "Writes accepted as primary."), func(s *Stats) uint64 { return s.Writes }},
	{counterDesc("kv_refused_writes_total", "Writes refused since a replica lagged."), func(s *Stats) uint64 { return s.Refused }},
	{counterDesc("kv_failover_missing_writes_total", "Writes known to be missing when this node became primary."), func(s *Stats) uint64 { return s.Missing }},
	{counterDesc("kv_lost_writes_total", "Writes that this node had as primary and its successor did not."), func(s *Stats) uint64 { return s.Lost }},
	{counterDesc("kv_marked_out_of_sync_total", "Replicas taken out of the in-sync set by this node."), func(s *Stats) uint64 { return s.OutOfSync }},
	{counterDesc("kv_copies_total", "Partitions copied in bulk to this node."), func(s *Stats) uint64 { return s.Copies }},
}

func counterDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, nil, nil)
}

// Collector returns the node's metrics for a Prometheus registry.
func (n *Node) Collector() prometheus.Collector { return collector{n} }

type collector struct{ n *Node }

var _ prometheus.Collector = collector{}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagDesc
	ch <- behindDesc
	ch <- boundDesc
	for _, t := range totals {
		ch <- t.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.n.lags()
	ch <- prometheus.MustNewConstMetric(boundDesc, prometheus.GaugeValue, float64(s.MaxLag))
	for _, t := range totals {
		ch <- prometheus.MustNewConstMetric(t.desc, prometheus.CounterValue, float64(t.of(&s)))
	}
	for _, p := range s.Partitions {
		if p.Followers == nil {
			ch <- prometheus.MustNewConstMetric(behindDesc, prometheus.GaugeValue, p.Behind, p.Partition)
		}
		for id, f := range p.Followers {
			inSync := "false"
			if f.InSync {
				inSync = "true"
			}
			ch <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(f.Lag), p.Partition, id, inSync)
		}
	}
}
