// Package access decides who may ask what of the address of a store, KV_ADDR.
//
//	              ┌─ begins like TLS ──▶ handshake ──▶ a certificate of the cluster? ──▶ Node or Client
//	connection ───┤                                                            └─ none ─▶ Public
//	              └─ anything else ────▶ Public; refused when the API is HTTPS
//
// A Public caller has the HTTP API and nothing else. A Client may ask what the
// stores' own clients ask over a stream, and a Node everything that nodes ask of
// each other. Certificates, names and authorities are those of the cluster port.
//
// Without certificates there is no TLS, no connection is looked at twice, and
// who is on the node's own machine counts as a Node: nobody else does, unless
// the operator has said that the network is trusted.
package access
