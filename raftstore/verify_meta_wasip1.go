package raftstore

// verifyMeta has nothing to verify: there is no bbolt for wasip1, and what
// stands in for it in the simulator has no pages.
func verifyMeta(string) error { return nil }
