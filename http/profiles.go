package http

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Profiles are served by package runtime/pprof alone: importing net/http/pprof
// would put them on http.DefaultServeMux of the program around this one.

// maxProfile bounds how long a profile may be taken.
const maxProfile = 60 * time.Second

// profile serves one profile in the form of go tool pprof, or a trace.
func (h *Handler) profile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("profile")
	seconds, f := number(r, "seconds", 30, int(maxProfile/time.Second))
	debug, bad := number(r, "debug", 0, 2)
	if f == nil {
		f = bad
	}
	if f != nil {
		fail(w, f)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/octet-stream")
	var err error
	switch name {
	case "profile":
		err = during(w, r, seconds, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
	case "trace":
		err = during(w, r, seconds, func() error { return trace.Start(w) }, trace.Stop)
	default:
		p := pprof.Lookup(name)
		if p == nil {
			fail(w, &failure{codeNotFound, "there is no profile " + quoted(name) + ": use profile, trace, heap, allocs, goroutine, block, mutex or threadcreate"})
			return
		}
		if name == "heap" {
			runtime.GC() // what is held, not what was
		}
		if debug > 0 {
			header.Set("Content-Type", "text/plain; charset=utf-8")
		}
		_ = p.WriteTo(w, debug) // the client is gone: nobody to tell
	}
	if err != nil {
		fail(w, &failure{codeConflict, "another profile is being taken: " + err.Error()})
	}
}

// during runs between start and stop for some seconds, or until the client goes.
func during(w http.ResponseWriter, r *http.Request, seconds int, start func() error, stop func()) error {
	d := time.Duration(seconds) * time.Second
	extend(w, r, d)
	if err := start(); err != nil {
		return err
	}
	defer stop()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
	return nil
}

// extend lets an answer begin later than the server's WriteTimeout allows. A
// server without one is left alone: nobody would take the deadline back.
func extend(w http.ResponseWriter, r *http.Request, by time.Duration) {
	if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && s.WriteTimeout > 0 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(by + s.WriteTimeout))
	}
}

// number returns a parameter from 0 to most.
func number(r *http.Request, name string, otherwise, most int) (int, *failure) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || int(n) > most {
		return 0, &failure{codeInvalid, fmt.Sprintf("the parameter %s is %s: use a whole number from 0 to %d", name, quoted(text), most)}
	}
	return int(n), nil
}
