package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/frame"
)

const (
	maxBody  = 1 << 20
	maxKey   = 4 << 10
	hopLimit = "X-Forwarded-For-Partition" // set on a request that was forwarded once
)

// mux routes the store's HTTP API.
func (k *kv) mux() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /kv/set", k.set)
	m.HandleFunc("POST /kv/delete", k.delete)
	m.HandleFunc("GET /kv/get", k.get)
	m.HandleFunc("GET /kv/stats", k.stats)
	m.HandleFunc("POST /kv/internal/replicate", k.serveReplicate)
	m.HandleFunc("GET /kv/internal/copy", k.serveCopy)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "use POST /kv/set, GET /kv/get?key=, POST /kv/delete or GET /kv/stats")
	})
	return m
}

// request is the body of a write.
type request struct {
	Key   *string `json:"key"`
	Value *string `json:"value"`
}

// read decodes a body, or answers what is wrong with it.
func read(w http.ResponseWriter, r *http.Request, wantValue bool) (req request, body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
		return req, nil, false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err = d.Decode(&req)
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, "the body is not {\"key\":…,\"value\":…}: "+err.Error())
	case req.Key == nil || !validKey(*req.Key):
		fail(w, http.StatusBadRequest, fmt.Sprintf("the field key is required: 1 to %d bytes", maxKey))
	case wantValue && req.Value == nil:
		fail(w, http.StatusBadRequest, "the field value is required")
	case !wantValue && req.Value != nil:
		fail(w, http.StatusBadRequest, "the field value is not allowed here")
	default:
		return req, body, true
	}
	return req, nil, false
}

func validKey(key string) bool { return len(key) >= 1 && len(key) <= maxKey }

func (k *kv) set(w http.ResponseWriter, r *http.Request) {
	req, body, ok := read(w, r, true)
	if !ok {
		return
	}
	k.route(w, r, *req.Key, body, func(ctx context.Context) (any, error) {
		err := k.write(ctx, *req.Key, []byte(*req.Value), false)
		return map[string]string{"status": "ok", "role": "primary", "node": k.ck.GetMyNodeID()}, err
	})
}

func (k *kv) delete(w http.ResponseWriter, r *http.Request) {
	req, body, ok := read(w, r, false)
	if !ok {
		return
	}
	k.route(w, r, *req.Key, body, func(ctx context.Context) (any, error) {
		err := k.write(ctx, *req.Key, nil, true)
		return map[string]string{"status": "ok", "role": "primary", "node": k.ck.GetMyNodeID()}, err
	})
}

// errAbsent is a key that is not stored.
var errAbsent = errors.New("the key is not stored")

func (k *kv) get(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("key")
	if !validKey(key) {
		fail(w, http.StatusBadRequest, fmt.Sprintf("the parameter key is required: 1 to %d bytes", maxKey))
		return
	}
	k.route(w, r, key, nil, func(context.Context) (any, error) {
		p, err := k.ck.GetPartition(key)
		if err != nil {
			return nil, err
		}
		if !k.ck.IsPrimary(p) {
			return nil, errNotPrimary
		}
		rec, ok, err := k.store.Get(p.Index, key)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, errAbsent
		}
		return map[string]string{"key": key, "value": string(rec.Value)}, nil
	})
}

// route answers a request here if this node is the primary of the key, and
// has the primary answer it otherwise. While there is none, or it is being
// replaced, it waits and tries again: a client sees a failover as a pause. A
// request that was forwarded is not forwarded again.
func (k *kv) route(w http.ResponseWriter, r *http.Request, key string, body []byte, here func(context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), writeWithin)
	defer cancel()
	forwarded := r.Header.Get(hopLimit) != ""
	for {
		err := errNotPrimary
		p, located := k.ck.GetPartition(key)
		switch {
		case located != nil:
			err = located
		case k.ck.IsPrimary(p):
			var v any
			if v, err = here(ctx); err == nil || errors.Is(err, errAbsent) {
				respond(w, v, err)
				return
			}
		case !forwarded:
			if k.forward(ctx, w, r, k.ck.GetPrimary(p), body) {
				return
			}
		}
		if forwarded && errors.Is(err, errNotPrimary) {
			fail(w, http.StatusConflict, err.Error())
			return
		}
		select {
		case <-ctx.Done():
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		case <-time.After(again):
		}
	}
}

// forward has the primary answer. It returns false when that failed in a way
// that trying again can mend; writes are idempotent.
func (k *kv) forward(ctx context.Context, w http.ResponseWriter, r *http.Request, primary *clusterkit.Node, body []byte) bool {
	if primary == nil || primary.Service(serviceName) == "" || primary.ID == k.ck.GetMyNodeID() {
		return false
	}
	target := url.URL{Scheme: "http", Host: primary.Service(serviceName), Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	req, err := http.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set(hopLimit, "1")
	resp, err := k.peers.http.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 2*maxBody))
	if err != nil || resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // the client is gone: nobody to tell
	return true
}

func (k *kv) serveReplicate(w http.ResponseWriter, r *http.Request) {
	items, err := frame.Read(http.MaxBytesReader(w, r.Body, frame.MaxBytes+8))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	status, err := k.accept(items)
	if err != nil {
		k.logger.Error("cannot store", "error", err)
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	_, _ = w.Write(status) // the sender is gone: it asks again
}

// stats tells how many keys this node holds.
func (k *kv) stats(w http.ResponseWriter, _ *http.Request) {
	type row struct {
		Partition string `json:"partition"`
		Role      string `json:"role"`
		Keys      int    `json:"keys"`
	}
	rows := []row{}
	total, led := 0, 0
	me := k.ck.GetMyNodeID()
	for _, p := range k.ck.Topology().Partitions {
		rep := p.Replica(me)
		if rep == nil {
			continue
		}
		n, err := k.store.Count(p.Index)
		if err != nil {
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		role := rep.State.String()
		if p.Primary == me {
			role = "primary"
			led += n
		}
		total += n
		rows = append(rows, row{p.ID, role, n})
	}
	respond(w, map[string]any{"node": me, "keys": total, "keys_as_primary": led, "partitions": rows}, nil)
}

// respond answers with a value, or with 404 for errAbsent.
func respond(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody to tell
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": http.StatusText(status), "message": message}})
}
