// Package gossip notices who is there and who has gone: memberlist probes,
// crash links, and the member table that both feed.
//
//	memberlist ──heard──▶ ┌───────┐
//	crash links ─report─▶ │ table │ ──Members──▶ the leader's control loop
//	other nodes ─report─▶ └───────┘ ──Wake─────▶
//
// One row of the table is the newest known incarnation of a node:
//
//	        probes unanswered
//	alive ─────────────────────▶ dead(silence)
//	 ▲ │                              │
//	 │ └─ two witnesses ─▶ dead(crash) ◀┘
//	 │    of a broken link    │
//	 └── a probe or a handshake with this very incarnation answers
//
// A higher incarnation replaces the row: the process of the lower one is gone.
//
// The package only observes. It never commits, elects or evicts; callbacks of
// memberlist copy what they are given and return.
package gossip
