// Package wire carries small requests between nodes, many at a time over one
// connection per direction.
//
//	Peer.Start ──▶ outbox ──▶ one write for all that waits ──▶ Serve ──▶ handler, a batch at a time
//	Call.Done ◀── answers in any order, matched by id ◀────── outbox ◀── reply
//
// What is started while a write is under way travels together in the next
// one, and what has arrived together is handled together: under load the
// system calls, and the fsyncs of the handler, are shared by many requests,
// and an idle connection adds no delay.
//
// A connection that breaks fails all its calls with ErrBroken; whether they
// were carried out is then unknown. The next Start dials again. Package wire
// never sends anything twice, and knows nothing of what the bodies mean.
package wire
