package wire

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// stallWithin is how long a copy may stand still. Its sender has the next frame in
// milliseconds; what is lost on the way the kernel sends again ever more rarely,
// and may have given up already, so that a new connection is there sooner.
const stallWithin = 3 * time.Second

// Unstalled reads from r, of which cancel ends a Read. It calls cancel when
// nothing has come for three seconds, and says so in the error.
func Unstalled(r io.Reader, cancel func()) io.Reader {
	u := &unstalled{r: r}
	u.timer = time.AfterFunc(stallWithin, func() {
		u.stalled.Store(true)
		cancel()
	})
	u.timer.Stop()
	return u
}

type unstalled struct {
	r       io.Reader
	timer   *time.Timer // runs during a Read
	stalled atomic.Bool
}

// Read implements io.Reader.
func (u *unstalled) Read(b []byte) (int, error) {
	u.timer.Reset(stallWithin)
	n, err := u.r.Read(b)
	u.timer.Stop()
	if err != nil && u.stalled.Load() {
		err = fmt.Errorf("nothing came for %v: %w", stallWithin, err)
	}
	return n, err
}
