package bubble

import (
	"testing"
	"testing/synctest"
)

// Test calls f in a new bubble, as synctest.Test does. Under the race detector,
// the process has one processor from the start of the first of several bubbles
// to the end of the last one. It may be called by parallel tests, but not beside
// tests in real time: go test runs those that are not parallel first, alone.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer alone()()
	synctest.Test(t, f)
}
