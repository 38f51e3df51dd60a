// Package simnet is an in-memory network for simulating a cluster in a
// testing/synctest bubble, in virtual time.
//
//	n := simnet.New(seed)
//	h := n.Host("10.0.0.1") // has Listen, ListenPacket and DialContext
//
// Streams behave like TCP as a process sees it: in order, delayed, with
// bounded buffers, sent again where packets are lost, and with an end of stream
// after Close and Crash, or a reset if the crash left something unread.
// Packets are delayed, reordered and lost. Between two hosts the network can
// be cut in either direction: what was sent then arrives after it is healed,
// as retransmission would have it; packets are lost.
package simnet
