//go:build !unix

package hooks

import "os"

// release closes a file that bbolt has left open.
func release(f *os.File) { _ = f.Close() }
