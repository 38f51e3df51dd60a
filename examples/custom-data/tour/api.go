package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// api speaks to the nodes as any program outside of Go would.
type api struct{ http *http.Client }

// errStatus is an answer other than 200.
type errStatus struct {
	status int
	text   string
}

func (e *errStatus) Error() string { return fmt.Sprintf("%d: %s", e.status, e.text) }

// status returns the HTTP status of an error, 0 if it has none.
func status(err error) int {
	var e *errStatus
	if errors.As(err, &e) {
		return e.status
	}
	return 0
}

// do sends a request and decodes the answer into a value, unless that is nil.
func (a *api) do(ctx context.Context, method, addr, path string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, &b)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500)) // only for the message
		return &errStatus{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// event is one of /watch.
type event struct {
	id, name string
	changes  []change
}

// change is as /watch tells it.
type change struct {
	Kind, Name string
	Gone       bool
	Flag       json.RawMessage
	Instances  []instance
}

type instance struct{ Node, Addr string }

// watch calls got for every event from an id on, until the stream ends.
func (a *api) watch(ctx context.Context, addr, from string, got func(event)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/watch?from="+from, nil)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	var e event
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.changes); err != nil {
				return err
			}
		case "":
			if e.name != "" {
				got(e)
			}
			e = event{}
		}
	}
	return lines.Err()
}
