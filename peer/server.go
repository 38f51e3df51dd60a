package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	pathPropose  = "/propose"
	pathCrash    = "/crash"
	pathWait     = "/wait"
	pathIdentity = "/identity"
	pathPlan     = "/plan"
	pathKeys     = "/keys"

	// maxBody bounds what a call may carry: other nodes propose single
	// commands, never plans, and the largest carries one value of the
	// replicated metadata in base64.
	maxBody = topology.MaxDataValue/3*4 + 256<<10
)

// Server answers calls on the cluster port.
type Server struct {
	handler Handler
	http    *http.Server
	streams net.Listener
}

// NewServer returns a server for the calls that arrive on the port.
func NewServer(p *Port, h Handler, logger *slog.Logger) *Server {
	s := &Server{handler: h, streams: p.Streams(Calls)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathPropose, s.propose)
	mux.HandleFunc("POST "+pathCrash, s.crash)
	mux.HandleFunc("GET "+pathWait, s.wait)
	mux.HandleFunc("GET "+pathIdentity, s.identity)
	mux.HandleFunc("POST "+pathPlan, s.rebalance)
	mux.HandleFunc("POST "+pathKeys, s.keys)
	s.http = &http.Server{
		Handler:           mux,
		ConnContext:       withCaller,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Run serves until ctx ends, then closes every connection: callers see an
// unknown outcome and ask again elsewhere.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	defer func() { _ = s.http.Close() }() // what is open still, when the listener closed first
	err := s.http.Serve(s.streams)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) propose(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		answerError(w, err)
		return
	}
	e, err := topology.DecodeEntry(body)
	if err != nil {
		answerError(w, remoteError{sentinel: ErrRefused, message: err.Error()})
		return
	}
	out, err := s.handler.Propose(r.Context(), e)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, out)
}

func (s *Server) crash(w http.ResponseWriter, r *http.Request) {
	var c Crash
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&c); err != nil {
		answerError(w, err)
		return
	}
	if err := s.handler.Crash(r.Context(), c); err != nil {
		answerError(w, err)
		return
	}
	answer(w, struct{}{})
}

func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	version, err := strconv.ParseUint(r.URL.Query().Get("version"), 10, 64)
	if err != nil {
		answerError(w, err)
		return
	}
	if err := s.handler.WaitVersion(r.Context(), version); err != nil {
		answerError(w, err)
		return
	}
	answer(w, struct{}{})
}

func (s *Server) rebalance(w http.ResponseWriter, r *http.Request) {
	if err := s.handler.Rebalance(r.Context()); err != nil {
		answerError(w, err)
		return
	}
	answer(w, struct{}{})
}

func (s *Server) keys(w http.ResponseWriter, r *http.Request) {
	var c KeyChange
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&c); err != nil {
		answerError(w, err)
		return
	}
	ring, err := s.handler.ChangeKeys(r.Context(), c)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, ring)
}

func (s *Server) identity(w http.ResponseWriter, _ *http.Request) { answer(w, s.handler.Identity()) }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone: nobody to tell
}

func answerError(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict)
	_ = json.NewEncoder(w).Encode(encodeError(err))
}
