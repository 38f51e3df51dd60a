// Package certs makes and checks the certificates of a cluster: one authority
// (CA) signs them all, and the names in a certificate say what its holder may be.
//
//	node.<domain>       a node: may open and answer streams of the cluster port
//	<id>.node.<domain>  … but only as the node with this NodeID
//	client.<domain>     a client of the HTTP API, and no node
//
// The domain is "clusterkit" unless clusters share an authority. Host names
// and addresses may stand beside them, for browsers; nodes do not look at them:
// they dial each other by addresses that change, and ask for the role.
//
// [Open] reads the files of a node and follows them: when they change, the next
// handshakes use what is new, and what cannot be used is logged and left.
package certs
