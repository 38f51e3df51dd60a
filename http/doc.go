// Package http is the public HTTP API of a node: what the cluster looks like,
// whether this node is healthy, a stream of changes, metrics, and a dashboard.
// Import it as ckhttp.
//
// Every endpoint only reads: there is nothing to POST, and no way to join.
// Nodes join through gossip and the leader's checks. openapi.yaml, served at
// /openapi.yaml, describes every endpoint. Errors are JSON:
//
//	{"error":{"code":"missing_parameter","message":"…"}}
//
// One request, from the outside in:
//
//	guard (panics, sizes, paths) ─▶ route (method, query) ─▶ view of one topology ─▶ JSON
//
// The package decides nothing: it shows what its sources say. It keeps no
// queue: a stream that falls behind is moved to the newest state, and what is
// remembered for streams that resume is bounded.
package http
