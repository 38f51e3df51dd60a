package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/valyala/fasthttp"
)

const (
	// askWithin bounds one request of httpKV.
	askWithin = 10 * time.Second
	// httpConns is how many connections it keeps to a node.
	httpConns = 256
)

// httpKV sends plain HTTP and JSON to a random node, a request per operation:
// what curl does, on kept connections.
type httpKV struct {
	addrs  []string
	client *fasthttp.Client
}

func newHTTP(addrs []string) *httpKV {
	dial := &fasthttp.TCPDialer{DisableDNSResolution: true}
	return &httpKV{addrs: addrs, client: &fasthttp.Client{
		Dial:            func(addr string) (conn net.Conn, err error) { return dial.DialTimeout(addr, time.Second) },
		MaxConnsPerHost: httpConns, MaxIdleConnDuration: 30 * time.Second, NoDefaultUserAgentHeader: true,
		MaxIdemponentCallAttempts: 1,
	}}
}

func (h *httpKV) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

func (h *httpKV) Set(ctx context.Context, key, value string) error {
	return h.post(ctx, "/kv/set", map[string]string{"key": key, "value": value})
}

func (h *httpKV) Delete(ctx context.Context, key string) error {
	return h.post(ctx, "/kv/delete", map[string]string{"key": key})
}

// post tries again as long as nothing was done. A write that may be is not sent
// again: to a node it would be another one, which undoes what came in between.
func (h *httpKV) post(ctx context.Context, path string, body map[string]string) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for {
		var done kvapi.Written
		status, err := h.do(ctx, fasthttp.MethodPost, path, b, &done)
		switch {
		case err == nil && done.Status == "ok":
			return nil
		case err == nil:
			err = fmt.Errorf("%w: the answer %d says %q", kvapi.ErrUnknown, status, done.Status)
		case status == 0 && !unsent(err):
			err = fmt.Errorf("%w: %w", kvapi.ErrUnknown, err)
		}
		if errors.Is(err, kvapi.ErrUnknown) || !pause(ctx, 5*time.Millisecond) {
			return err
		}
	}
}

// unsent reports whether a request without an answer did not leave at all.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, fasthttp.ErrDialTimeout) || errors.Is(err, fasthttp.ErrNoFreeConns)
}

func (h *httpKV) Get(ctx context.Context, key string) (string, bool, error) {
	path := "/kv/get?key=" + url.QueryEscape(key)
	for {
		var pair struct{ Key, Value string }
		status, err := h.do(ctx, fasthttp.MethodGet, path, nil, &pair)
		switch {
		case err == nil && pair.Key == key:
			return pair.Value, true, nil
		case status == fasthttp.StatusNotFound:
			return "", false, nil
		case err == nil:
			err = fmt.Errorf("the answer is about %.80q", pair.Key)
		}
		if !pause(ctx, 5*time.Millisecond) {
			return "", false, err
		}
	}
}

// do sends a request and reads the answer; an error, with the status if there
// was one, unless that is 200.
func (h *httpKV) do(ctx context.Context, method, path string, body []byte, into any) (status int, err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod(method)
	req.SetRequestURI("http://" + h.addrs[rand.IntN(len(h.addrs))] + path) //#nosec G404 -- any node will do
	if body != nil {
		req.Header.SetContentType("application/json")
		req.SetBodyRaw(body)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(askWithin)
	}
	if err := errors.Join(ctx.Err(), h.client.DoDeadline(req, resp, deadline)); err != nil {
		return 0, err
	}
	if status = resp.StatusCode(); status != fasthttp.StatusOK {
		err := fmt.Errorf("%d %.200s", status, resp.Body())
		var answer struct {
			Error struct{ Code string }
		}
		if json.Unmarshal(resp.Body(), &answer) != nil || answer.Error.Code == kvapi.CodeUnknown {
			err = fmt.Errorf("%w: %w", kvapi.ErrUnknown, err)
		}
		return status, err
	}
	return status, json.Unmarshal(resp.Body(), into)
}
