// Package http is the public HTTP API of a node: what the cluster looks like,
// whether this node is healthy, a stream of changes, metrics, and a dashboard.
// Import it as ckhttp.
//
// GET only reads; operations are POST, and need permission (see [Access]).
// There is no way to join: nodes do so through gossip and the leader's checks.
// openapi.yaml, served at
// /openapi.yaml, describes every endpoint. Errors are JSON:
//
//	{"error":{"code":"missing_parameter","message":"…"}}
//
// One request, from the outside in:
//
//	guard (panics, sizes, paths) ─▶ route (method, permission, query) ─▶ view of one topology ─▶ JSON
//
// The package decides nothing: it shows what its sources say. It keeps no
// queue: a stream that falls behind is moved to the newest state, and what is
// remembered for streams that resume is bounded.
package http
