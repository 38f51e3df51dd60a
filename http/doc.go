// Package http is the public HTTP API of a node: what the cluster looks like,
// whether this node is healthy, metrics, and a dashboard. Import it as ckhttp.
//
// Every endpoint only reads. Nodes join through gossip and the leader's
// checks, never through here. Errors are JSON:
//
//	{"error":{"code":"missing_parameter","message":"…"}}
//
// The handler decides nothing: it shows what its sources say.
package http
