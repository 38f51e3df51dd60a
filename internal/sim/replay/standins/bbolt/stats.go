package bbolt

import "time"

// Stats are always zero here.
type Stats struct {
	FreePageN, PendingPageN, FreeAlloc, FreelistInuse, TxN, OpenTxN int

	TxStats TxStats
}

// TxStats are always zero here.
type TxStats struct {
	PageCount, PageAlloc, CursorCount, NodeCount, NodeDeref, Rebalance, Split, Spill, Write int64

	RebalanceTime, SpillTime, WriteTime time.Duration
}

// Sub returns the difference.
func (s *Stats) Sub(*Stats) Stats { return Stats{} }

// Stats returns zeros.
func (db *DB) Stats() Stats { return Stats{} }
