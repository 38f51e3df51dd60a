// Package fdsync has the kernel sync files in the background, and the caller
// of SyncData wait without a thread.
//
//	SyncData ──▶ io_submit(FDSYNC) ──▶ the goroutine parks
//	                                   kernel: fdatasync, then one event
//	reaper ◀── eventfd (netpoll) ──── io_getevents ──▶ the goroutine goes on
//
// A goroutine in fdatasync(2) keeps its thread and, until the runtime's monitor
// takes it away, its processor: a process that runs on one processor does
// nothing else meanwhile, and its monitor, which finds such goroutines, looks
// every 20 µs as long as it finds any. What SyncData promises is the same: it
// returns when the data is on disk, with the error that fdatasync would return.
//
// Where the kernel has no such calls, or refuses them, SyncData is the file
// system's own.
package fdsync
