package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
)

const (
	maxBody = 256 << 10
	// within bounds a change: a failover of the Raft leader fits into it.
	within = 5 * time.Second
	// heartbeat keeps proxies from closing a quiet stream, writeWithin bounds
	// how long one whose reader hangs is kept.
	heartbeat   = 15 * time.Second
	writeWithin = 10 * time.Second
)

func (a *app) listFlags(w http.ResponseWriter, _ *http.Request) {
	all, err := a.flags.All()
	if err != nil {
		a.fail(w, err)
		return
	}
	answer(w, map[string]any{"flags": all, "version": a.cluster.Snapshot().Version})
}

func (a *app) getFlag(w http.ResponseWriter, r *http.Request) {
	f, err := a.flags.Get(r.PathValue("name"))
	if err != nil {
		a.fail(w, err)
		return
	}
	answer(w, f)
}

// putBody is a flag, and the version that it should have: absent for any, 0
// for a flag that must not exist yet.
type putBody struct {
	flags.Flag
	Version *uint64 `json:"version"`
}

func (a *app) putFlag(w http.ResponseWriter, r *http.Request) {
	var body putBody
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(&body)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON object")
		}
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_body", `the body is not {"enabled":true,"percent":25,"users":["ada"],"note":"…","version":7}: `+err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	name := r.PathValue("name")
	if body.Version == nil {
		err = a.flags.Put(ctx, name, body.Flag)
	} else {
		err = a.flags.CompareAndPut(ctx, name, *body.Version, body.Flag)
	}
	if err != nil {
		a.fail(w, err)
		return
	}
	a.getFlag(w, r)
}

func (a *app) deleteFlag(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	if err := a.flags.Delete(ctx, r.PathValue("name")); err != nil {
		a.fail(w, err)
		return
	}
	answer(w, map[string]string{"status": "ok"})
}

func (a *app) askFlag(w http.ResponseWriter, r *http.Request) {
	user := r.URL.Query().Get("user")
	if user == "" {
		refuse(w, http.StatusBadRequest, "invalid_parameter", "user is required: GET /flags/{name}/on?user=ada")
		return
	}
	f, err := a.flags.Get(r.PathValue("name"))
	if err != nil {
		a.fail(w, err)
		return
	}
	on, why := f.For(f.Name, user)
	answer(w, map[string]any{"on": on, "why": why, "version": f.Version})
}

func (a *app) takeNumbers(w http.ResponseWriter, r *http.Request) {
	count := uint64(1)
	if text := r.URL.Query().Get("count"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			refuse(w, http.StatusBadRequest, "invalid_parameter", fmt.Sprintf("count %.40q: use a number from 1 to %d", text, maxBlock))
			return
		}
		count = n
	}
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	first, err := a.sequences.take(ctx, r.PathValue("name"), count)
	if err != nil {
		a.fail(w, err)
		return
	}
	answer(w, map[string]uint64{"first": first, "last": first + count - 1})
}

func (a *app) listServices(w http.ResponseWriter, _ *http.Request) {
	t := a.cluster.Snapshot()
	answer(w, map[string]any{"services": services(t), "version": t.Version})
}

func (a *app) getService(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	t := a.cluster.Snapshot()
	all := services(t)[name]
	if len(all) == 0 {
		refuse(w, http.StatusNotFound, "not_found", fmt.Sprintf("no node that is up offers %.80q: GET /services lists what there is", name))
		return
	}
	answer(w, map[string]any{"name": name, "instances": all, "version": t.Version})
}

// watch streams what changes, as server-sent events whose id is the version to
// resume from. Without one, and after a gap that is too long, the stream begins
// with everything there is, as an event named reset.
func (a *app) watch(w http.ResponseWriter, r *http.Request) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("from")
	}
	from := uint64(0)
	if text != "" {
		var err error
		if from, err = strconv.ParseUint(text, 10, 64); err != nil {
			refuse(w, http.StatusBadRequest, "invalid_parameter", fmt.Sprintf("from %.40q: use the id of an event", text))
			return
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	s := &stream{w: w, out: http.NewResponseController(w)}
	if s.write([]byte("retry: 1000\n\n")) != nil { // a browser that lost the stream comes back after a second
		return
	}
	for ctx.Err() == nil {
		if from == 0 {
			t := a.cluster.Snapshot()
			if from = t.Version; s.send(from, "reset", changes(&clusterkit.Topology{}, t)) != nil {
				return
			}
		}
		var done bool
		if from, done = s.follow(ctx, a.cluster, from); done {
			return
		}
	}
}

// stream is one reader of /watch.
type stream struct {
	w   http.ResponseWriter
	out *http.ResponseController
}

// follow sends updates until there is a gap (0, false) or the stream is over;
// it wakes for a heartbeat (the version, false).
func (s *stream) follow(ctx context.Context, ck *clusterkit.ClusterKit, from uint64) (uint64, bool) {
	beat, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	for u, err := range ck.Watch(beat, from) {
		if errors.Is(err, clusterkit.ErrCompacted) {
			return 0, false
		}
		from = u.After.Version
		if c := changes(u.Before, u.After); len(c) > 0 {
			if s.send(from, "change", c) != nil {
				return 0, true
			}
		}
	}
	if ctx.Err() != nil || beat.Err() == nil { // the reader has gone, or the node stops
		return 0, true
	}
	return from, s.write([]byte(": still here\n\n")) != nil
}

func (s *stream) send(version uint64, event string, c []change) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.write(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", version, event, data))
}

func (s *stream) write(p []byte) error {
	_ = s.out.SetReadDeadline(time.Time{}) // that of the request is over
	_ = s.out.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.out.Flush()
}

// fail answers a request that could not be carried out.
func (a *app) fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, flags.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, clusterkit.ErrInvalid):
		refuse(w, http.StatusBadRequest, "invalid", err.Error())
	case errors.Is(err, clusterkit.ErrConflict):
		refuse(w, http.StatusConflict, "conflict", err.Error()+": read it again, and decide anew")
	case errors.Is(err, clusterkit.ErrUnavailable), errors.Is(err, clusterkit.ErrNotReady):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "unavailable", err.Error())
	case errors.Is(err, clusterkit.ErrUnknown):
		refuse(w, http.StatusServiceUnavailable, "outcome_unknown", err.Error())
	default:
		a.logger.Error("a request failed", "error", err)
		refuse(w, http.StatusInternalServerError, "internal", err.Error())
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	respond(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, v any) { respond(w, http.StatusOK, v) }

func respond(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
