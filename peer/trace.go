package peer

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// withSent returns a ctx under which net/http notes in sent that it got a
// connection and began to write the request.
func withSent(ctx context.Context, sent *atomic.Bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
}
