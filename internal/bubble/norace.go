//go:build !race

package bubble

// alone leaves the process as it is: without the detector, nothing is shared.
func alone() (end func()) { return func() {} }
