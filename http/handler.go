package http

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Source is the applied topology.
type Source interface {
	// Topology returns the newest applied topology, never nil.
	Topology() *topology.Topology
	// Subscribe returns a cap-1 channel that is woken after each change, and
	// the function that ends the subscription.
	Subscribe() (<-chan struct{}, func())
	// Locate returns the partition of a key; an error before there is one.
	Locate(key string) (*topology.Partition, error)
	// Encoding names how the cluster's hash is read as a number.
	Encoding() string
}

// Node is what the handler asks of the node that it belongs to. Its methods
// must not block.
type Node interface {
	// ID returns the NodeID.
	ID() string
	// Consensus returns what the node knows of Raft.
	Consensus() Consensus
	// Ready returns named checks; the node is ready when all are OK.
	Ready() []Check
	// Hooks returns the counters of the hooks.
	Hooks() Hooks
}

// Consensus is what a node knows of Raft.
type Consensus struct {
	State         string   `json:"state"`
	Term          uint64   `json:"term"`
	LeaderUUID    string   `json:"-"`
	LeaderAddr    string   `json:"leader_raft_addr"`
	LastLogIndex  uint64   `json:"last_log_index"`
	CommitIndex   uint64   `json:"commit_index"`
	AppliedIndex  uint64   `json:"applied_index"`
	SnapshotIndex uint64   `json:"snapshot_index"`
	LastContact   float64  `json:"last_contact_seconds"`
	Voters        []string `json:"-"` // UUIDs
	NonVoters     []string `json:"-"`
}

// Check is one condition of readiness.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Hooks counts calls of hooks.
type Hooks struct {
	Calls    uint64 `json:"calls"`
	Failures uint64 `json:"failures"`
	Panics   uint64 `json:"panics"`
	Running  int    `json:"running"`
	Waiting  int    `json:"waiting"`
}

// Config says what a Handler shows. All fields are required.
type Config struct {
	Source Source
	Node   Node
	Logger *slog.Logger
	// Started is when the node was made.
	Started time.Time
}

const (
	// maxRequestBody bounds bodies: no endpoint wants one.
	maxRequestBody = 1 << 10
	// maxKeyBytes bounds the key of /partitions/key.
	maxKeyBytes = 4 << 10
)

// Handler serves the API. It is an http.Handler that can be mounted anywhere
// with http.StripPrefix.
type Handler struct {
	c       Config
	mux     *http.ServeMux
	paths   []string
	metrics http.Handler
	cached  atomic.Pointer[document]
	streams chan struct{} // one slot per open /events stream
}

var _ http.Handler = (*Handler)(nil)

// New returns the handler.
func New(c Config) *Handler {
	h := &Handler{c: c, mux: http.NewServeMux(), streams: make(chan struct{}, maxStreams)}
	h.metrics = newMetrics(c)
	for _, route := range []struct {
		path  string
		serve http.HandlerFunc
	}{
		{"/cluster", h.cluster},
		{"/partitions", h.partitions},
		{"/partitions/stats", h.partitionStats},
		{"/partitions/key", h.partitionOfKey},
		{"/consensus/leader", h.consensusLeader},
		{"/consensus/stats", h.consensusStats},
		{"/nodes", h.nodes},
		{"/health", h.health},
		{"/health/detailed", h.healthDetailed},
		{"/ready", h.ready},
		{"/events", h.events},
		{"/metrics", h.metrics.ServeHTTP},
		{"/ui", h.ui},
		{"/{$}", h.index},
	} {
		h.mux.HandleFunc("GET "+route.path, route.serve)
		if route.path != "/{$}" {
			h.paths = append(h.paths, route.path)
			h.mux.HandleFunc(route.path, h.methodNotAllowed)
		}
	}
	h.mux.HandleFunc("/", h.notFound)
	return h
}

// ServeHTTP answers one request. A panic in a handler is logged and answered
// with an error, and ends nothing else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			h.c.Logger.Error("http handler panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			fail(w, codeInternal, "this is a bug: the node's log says more")
		}
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.ContentLength > maxRequestBody {
		fail(w, codeTooLarge, fmt.Sprintf("the body has %d bytes: no endpoint takes one", r.ContentLength))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	h.mux.ServeHTTP(w, r)
}

func (h *Handler) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	fail(w, codeMethod, "use GET or HEAD: the API only reads")
}

func (h *Handler) notFound(w http.ResponseWriter, _ *http.Request) {
	fail(w, codeNotFound, "no such endpoint: GET / lists them")
}

// index lists the endpoints, or sends a browser to the dashboard.
func (h *Handler) index(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, "ui", http.StatusFound)
		return
	}
	answer(w, map[string]any{"node": h.c.Node.ID(), "endpoints": h.paths})
}

// code is a stable name of an error.
type code string

const (
	codeNotReady code = "not_ready"
	codeNoLeader code = "no_leader"
	codeMissing  code = "missing_parameter"
	codeInvalid  code = "invalid_parameter"
	codeNotFound code = "not_found"
	codeMethod   code = "method_not_allowed"
	codeTooLarge code = "body_too_large"
	codeBusy     code = "too_many_streams"
	codeInternal code = "internal"
)

// statusOf maps every code to its status, in one place.
var statusOf = map[code]int{
	codeNotReady: http.StatusServiceUnavailable,
	codeNoLeader: http.StatusServiceUnavailable,
	codeMissing:  http.StatusBadRequest,
	codeInvalid:  http.StatusBadRequest,
	codeNotFound: http.StatusNotFound,
	codeMethod:   http.StatusMethodNotAllowed,
	codeTooLarge: http.StatusRequestEntityTooLarge,
	codeBusy:     http.StatusServiceUnavailable,
	codeInternal: http.StatusInternalServerError,
}

// fail answers with an error.
func fail(w http.ResponseWriter, c code, message string) {
	write(w, statusOf[c], map[string]any{"error": map[string]string{"code": string(c), "message": message}})
}

// answer answers with a value.
func answer(w http.ResponseWriter, v any) { write(w, http.StatusOK, v) }

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody to tell
}

// founded returns the topology, or answers that there is none yet.
func (h *Handler) founded(w http.ResponseWriter) (*topology.Topology, bool) {
	t := h.c.Source.Topology()
	if !t.Founded() {
		fail(w, codeNotReady, "this node has not learned the topology yet: it is starting or joining")
		return nil, false
	}
	return t, true
}

// NewServer returns a server for the handler that gives slow and greedy
// clients short shrift. Streams of /events outlive WriteTimeout by themselves.
func NewServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
