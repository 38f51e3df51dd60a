package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// silence is how long a stream may say nothing: three of the heartbeats that
// the API sends.
const silence = 45 * time.Second

var errSilent = errors.New("nothing was heard for 45s")

// sse is one server-sent event.
type sse struct {
	id, name string
	data     []byte
}

// stream opens /events behind the given version, "" for a snapshot, and calls
// on for every event until the stream ends, which is an error always.
func (a api) stream(ctx context.Context, from string, on func(sse) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{"Accept": {"text/event-stream"}}
	if from != "" {
		header.Set("Last-Event-ID", from)
	}
	resp, err := a.open(ctx, "events", nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		return a.stranger(resp.Request.URL, fmt.Sprintf("with %q", kind))
	}
	idle := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer idle.Stop()
	err = readEvents(resp.Body, func() { idle.Reset(silence) }, on)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// readEvents parses a stream of server-sent events until it ends, which is
// io.ErrUnexpectedEOF. heard is called for every line.
func readEvents(r io.Reader, heard func(), on func(sse) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	var e sse
	for lines.Scan() {
		heard()
		line := lines.Bytes()
		if len(line) == 0 {
			if e.data != nil {
				if err := on(e); err != nil {
					return err
				}
			}
			e = sse{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			e.id = string(value)
		case "event":
			e.name = string(value)
		case "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
