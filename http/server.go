package http

import (
	"log/slog"
	"net"
	"net/http"
	"time"
)

// maxHeaderBytes bounds a request's line and headers: browsers and proxies
// stay far below it.
const maxHeaderBytes = 16 << 10

// NewServer returns a server that gives slow and greedy clients short shrift.
// It has at most 1,024 connections, 256 of one address; more are answered with
// 503, or just closed where they speak TLS. Streams of /events outlive its timeouts by setting their own deadlines. If
// the handler has a method Close, as [Handler] does, Shutdown calls it, so
// that open streams do not hold it up. A nil logger logs nothing.
func NewServer(h http.Handler, logger *slog.Logger) *http.Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	d := &door{logger: logger, most: maxConns, perHost: maxConnsPerHost, conns: make(map[net.Conn]string), hosts: make(map[string]int)}
	s := &http.Server{
		ConnState:         d.state,
		Handler:           h,
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		// OPTIONS * gets the handler's answer, like every other request.
		DisableGeneralOptionsHandler: true,
	}
	if c, ok := h.(interface{ Close() }); ok {
		s.RegisterOnShutdown(c.Close)
	}
	return s
}
