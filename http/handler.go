package http

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// maxRequestBody bounds the bodies of requests that only read: none takes
	// one, and some clients send an empty JSON object anyway.
	maxRequestBody = 1 << 10
	// maxURI bounds the path and the query: the longest key, escaped.
	maxURI = 3*maxKeyBytes + 256
	// maxKeyBytes bounds the key of /partitions/key.
	maxKeyBytes = 4 << 10
)

// Handler serves the API. It may be used concurrently.
type Handler struct {
	c       Config
	mux     *http.ServeMux
	paths   []string
	build   buildJSON
	metrics *metrics
	cached  atomic.Pointer[document]
	feed    feed
	polls   chan struct{} // one element per request that waits for a change
	// streaming and polling count what each host has of both.
	streaming, polling shares
	// sameSite tells requests of pages of other sites by Sec-Fetch-Site and
	// Origin: a browser inside a trusted network must not operate a cluster
	// for whoever wrote the page.
	sameSite *http.CrossOriginProtection

	closing sync.Once
	closed  chan struct{} // closed by Close: streams end
}

var _ http.Handler = (*Handler)(nil)

// route is one endpoint: GET and HEAD of one path, or POST.
type route struct {
	path  string
	serve http.HandlerFunc
	// query names the parameters it takes; anyQuery takes all.
	query []string
}

// anyQuery is for pages, which browsers and scrapers decorate as they like.
var anyQuery = []string{"*"}

// New returns the handler. It starts nothing.
func New(c Config) *Handler {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Prefix = strings.TrimSuffix(c.Prefix, "/")
	h := &Handler{c: c, mux: http.NewServeMux(), build: readBuild(), closed: make(chan struct{})}
	h.feed.slots = make(chan struct{}, maxStreams)
	h.polls, h.sameSite = make(chan struct{}, maxPolls), http.NewCrossOriginProtection()
	h.metrics = newMetrics(c, h.build, &h.feed)
	allowed := make(map[string]string) // by path
	for _, r := range h.routes() {
		h.handle("GET", r)
		allowed[r.path] = "GET, HEAD"
		h.paths = append(h.paths, r.path)
	}
	for _, r := range h.operations() {
		r.serve = h.operation(r.serve)
		h.handle("POST", r)
		if allowed[r.path] != "" {
			allowed[r.path] += ", "
		}
		allowed[r.path] += "POST"
		h.paths = append(h.paths, "POST "+r.path)
	}
	if c.Profiles {
		h.handle("GET", route{"/debug/pprof/{profile}", h.profile, []string{"seconds", "debug", "gc"}})
		allowed["/debug/pprof/{profile}"] = "GET, HEAD"
		h.paths = append(h.paths, "/debug/pprof/{profile}")
	}
	for name, a := range uiAssets() {
		h.handle("GET", route{"/ui/" + name, a.ServeHTTP, anyQuery})
		allowed["/ui/"+name] = "GET, HEAD"
	}
	h.handle("GET", route{"/{$}", h.index, anyQuery})
	allowed["/{$}"] = "GET, HEAD"
	for path, methods := range allowed {
		h.mux.Handle(path, h.metrics.counted(strings.TrimSuffix(path, "{$}"), methodNotAllowed(methods)))
	}
	h.mux.HandleFunc("/", h.notFound)
	return h
}

// routes lists the endpoints, as GET / does.
func (h *Handler) routes() []route {
	return []route{
		{"/cluster", h.cluster, []string{"version", "wait"}},
		{"/partitions", h.partitions, windowQuery},
		{"/partitions/stats", h.partitionStats, nil},
		{"/partitions/key", h.partitionOfKey, []string{"key"}},
		{"/nodes", h.nodes, windowQuery},
		{"/nodes/{id}", h.node, nil},
		{"/nodes/{id}/drain", h.drainProgress, nil},
		{"/nodes/{id}/safe-to-stop", h.safeToStop, nil},
		{"/rebalance", h.rebalance, nil},
		{"/data", h.data, []string{"key"}},
		{"/gossip/keys", h.operation(h.keys), nil},
		{"/consensus/leader", h.consensusLeader, nil},
		{"/consensus/stats", h.consensusStats, nil},
		{"/health", h.health, nil},
		{"/health/detailed", h.healthDetailed, nil},
		{"/ready", h.ready, nil},
		{"/events", h.events, []string{"from"}},
		{"/metrics", h.metrics.serve, anyQuery},
		{"/openapi.yaml", h.openAPI, nil},
		{"/ui", h.ui, anyQuery},
	}
}

// handle registers a route for a method; GET includes HEAD. Every request is
// counted.
func (h *Handler) handle(method string, r route) {
	need := needs(method, r.path)
	serve := func(w http.ResponseWriter, req *http.Request) {
		f := h.c.Access.permits(req, need)
		if f == nil {
			f = checkQuery(req, r.query)
		}
		if f != nil {
			fail(w, f)
			return
		}
		r.serve(w, req)
	}
	name := strings.TrimSuffix(r.path, "{$}")
	h.mux.Handle(method+" "+r.path, h.metrics.counted(name, serve))
}

// Close ends every open stream of /events, and new ones at once; one whose
// client does not read ends within 10 seconds. The other endpoints keep
// serving. It does not block, and may be called twice.
func (h *Handler) Close() { h.closing.Do(func() { close(h.closed) }) }

// ServeHTTP answers one request. A panic in an endpoint is logged and answered
// with an error, and ends nothing else.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &recorder{ResponseWriter: rw}
	defer h.recovered(w, r)
	secure(w.Header())
	inner, f := h.admit(w, r)
	if f != nil {
		h.metrics.count("(refused)", r.Method, statusOf[f.code])
		fail(w, f)
		return
	}
	h.mux.ServeHTTP(w, inner)
}

// secure sets the headers that every answer has. The dashboard sets a policy
// of its own. There are no CORS headers: pages of other sites read nothing.
func secure(header http.Header) {
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}

// admit bounds a request and returns it as the endpoints see it: without the
// prefix, and with nothing left to read.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) (*http.Request, *failure) {
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	switch {
	case size > maxHeaderBytes:
		return nil, &failure{codeHeaders, fmt.Sprintf("the headers have %d bytes: send at most %d", size, maxHeaderBytes)}
	case len(r.URL.Path)+len(r.URL.RawQuery) > maxURI:
		return nil, &failure{codeURI, fmt.Sprintf("the path and query have %d bytes: send at most %d", len(r.URL.Path)+len(r.URL.RawQuery), maxURI)}
	case r.ContentLength > maxRequestBody && r.Method != http.MethodPost:
		return nil, bodyTooLarge
	}
	if r.Body != nil && r.ContentLength != 0 && r.Method != http.MethodPost {
		if _, err := io.Copy(io.Discard, bounded(w, r, maxRequestBody)); err != nil {
			if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
				return nil, bodyTooLarge
			}
			return nil, &failure{codeBadRequest, "the body cannot be read: send none, no endpoint takes one"}
		}
	}
	p, ok := strings.CutPrefix(r.URL.Path, h.c.Prefix)
	if p == "" {
		p = "/"
	}
	// The mux would answer an unclean path with a redirect in HTML.
	if !ok || p[0] != '/' || p != path.Clean(p) {
		return nil, noEndpoint(h.c.Prefix)
	}
	inner := new(http.Request)
	*inner = *r
	inner.URL = &url.URL{Path: p, RawQuery: r.URL.RawQuery}
	inner.RequestURI = "" // the mux looks at it, and it may be "*"
	if r.Method != http.MethodPost || r.Body == nil {
		inner.Body = http.NoBody // an operation reads and bounds its own
	}
	return inner, nil
}

var bodyTooLarge = &failure{codeBody, fmt.Sprintf("the body has more than %d bytes: send none, no endpoint takes one", maxRequestBody)}

func noEndpoint(prefix string) *failure {
	return &failure{codeNotFound, "no such endpoint: GET " + prefix + "/ lists them"}
}

// recovered ends a request whose endpoint panicked.
func (h *Handler) recovered(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	h.c.Logger.Error("http handler panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	fail(w, &failure{codeInternal, "this is a bug: the node's log says more"})
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func methodNotAllowed(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", allowed)
		fail(w, &failure{codeMethod, "this endpoint takes " + allowed})
	}
}

func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) {
	h.metrics.count("(unknown)", r.Method, http.StatusNotFound)
	fail(w, noEndpoint(h.c.Prefix))
}

// index lists the endpoints, or sends a browser to the dashboard.
func (h *Handler) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		// Relative without a prefix, so that it holds under http.StripPrefix.
		to := "ui"
		if h.c.Prefix != "" {
			to = h.c.Prefix + "/ui"
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
		return
	}
	answer(w, map[string]any{"node": h.c.Node.ID(), "prefix": h.c.Prefix, "endpoints": h.paths})
}

// founded returns the topology, or answers that there is none yet.
func (h *Handler) founded(w http.ResponseWriter) (*topology.Topology, bool) {
	t := h.c.Source.Topology()
	if !t.Founded() {
		fail(w, notFounded)
		return nil, false
	}
	return t, true
}

var notFounded = &failure{codeNotReady, "this node has not learned the topology yet: it is starting or joining"}

// uptime returns how long the node has run.
func (h *Handler) uptime() time.Duration { return time.Since(h.c.Started) }
