package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// free returns an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

func bounded(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 30*time.Second)
}

// post sends a body until it is answered well.
func post(t *testing.T, target, body string) {
	t.Helper()
	ctx, cancel := bounded(t)
	defer cancel()
	for ctx.Err() == nil {
		resp, err := http.Post(target, "application/json", strings.NewReader(body))
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("%s gives no good answer", target)
}
