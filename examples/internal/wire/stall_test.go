package wire_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// TestUnstalled: what comes slowly is read, and what does not come ends the read.
func TestUnstalled(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		go func() {
			for range 10 {
				time.Sleep(2 * time.Second)
				_, _ = w.Write([]byte("x"))
			}
		}()
		began := time.Now()
		b, err := io.ReadAll(wire.Unstalled(r, func() { _ = r.CloseWithError(context.Canceled) }))
		if string(b) != strings.Repeat("x", 10) || err == nil || !strings.Contains(err.Error(), "nothing came for 3s") {
			t.Errorf("%q, %v", b, err)
		}
		if d := time.Since(began); d != 23*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// TestUnstalledBody: a request's context ends a read of its answer.
func TestUnstalledBody(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		<-done
	}))
	defer server.Close()
	defer close(done)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(wire.Unstalled(resp.Body, cancel)); string(b) != "x" || err == nil {
		t.Errorf("%q, %v", b, err)
	}
}
