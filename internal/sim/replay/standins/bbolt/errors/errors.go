// Package errors holds what callers of bbolt compare errors with.
package errors

import "errors"

var (
	// ErrTimeout says that somebody else has the file open.
	ErrTimeout = errors.New("timeout")
	// ErrDatabaseNotOpen answers calls after Close.
	ErrDatabaseNotOpen = errors.New("database not open")
	// ErrDatabaseReadOnly answers a writer of a file opened for reading.
	ErrDatabaseReadOnly = errors.New("database is in read-only mode")
	// ErrBucketNotFound answers the removal of a bucket that is not there.
	ErrBucketNotFound = errors.New("bucket not found")
	// ErrTxNotWritable answers a write in a transaction that only reads.
	ErrTxNotWritable = errors.New("tx not writable")
	// ErrTxClosed answers calls after Commit and Rollback.
	ErrTxClosed = errors.New("tx closed")
	// ErrInvalid says that a file is not a database.
	ErrInvalid = errors.New("invalid database")
)
