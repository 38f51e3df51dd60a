package kvapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/valyala/fasthttp"
)

// NewFast returns what answers POST /kv/set, POST /kv/delete and GET /kv/get as
// the mux of the same store does, at a fraction of the cost; it returns false,
// and has done nothing, for every other request.
func NewFast(store Store, logger *slog.Logger) func(*fasthttp.RequestCtx) bool {
	a := &api{store: store, logger: logger}
	return func(c *fasthttp.RequestCtx) bool {
		path, post := string(c.URI().PathOriginal()), c.IsPost()
		var do func() answer
		// The context is not the client's: a request whose client has gone is
		// carried out, and its store bounds the time.
		ctx := context.Background()
		switch {
		case post && path == "/kv/set":
			do = func() answer { return a.doWrite(ctx, c.PostBody(), true) }
		case post && path == "/kv/delete":
			do = func() answer { return a.doWrite(ctx, c.PostBody(), false) }
		case c.IsGet() && path == "/kv/get":
			do = func() answer { return a.doGet(ctx, keyParameter(c)) }
		default:
			return false
		}
		a.contain(do).reply(c)
		return true
	}
}

// keyParameter reads the query as net/http does.
func keyParameter(c *fasthttp.RequestCtx) string {
	q, _ := url.ParseQuery(string(c.URI().QueryString())) // what is malformed is not there
	return q.Get("key")
}

// contain turns a panic into an answer: net/http does so for its handlers.
func (a *api) contain(do func() answer) (got answer) {
	defer func() {
		if p := recover(); p != nil {
			a.logger.Error("a request panicked", "panic", p)
			got = problem{http.StatusInternalServerError, "internal", "", fmt.Sprint(p)}.answer()
		}
	}()
	return do()
}

func (a answer) reply(c *fasthttp.RequestCtx) {
	c.Response.Header.SetContentType(contentType)
	if a.retry {
		c.Response.Header.Set("Retry-After", retryAfter)
	}
	c.SetStatusCode(a.status)
	c.Response.SetBodyRaw(a.body)
}

// FastLimits sets what requests may measure and take on a server of NewFast's
// requests, and how it answers what it cannot read: as the API does.
func FastLimits(s *fasthttp.Server) {
	s.MaxRequestBodySize = maxBody
	s.ReadBufferSize = 4 * maxKey // a key in which every byte is escaped, and room
	s.ErrorHandler = func(c *fasthttp.RequestCtx, err error) { unreadable(err).answer().reply(c) }
}

// unreadable says why a request could not be read.
func unreadable(err error) problem {
	if err == fasthttp.ErrBodyTooLarge {
		return tooLarge
	}
	if _, large := err.(*fasthttp.ErrSmallBuffer); large {
		return problem{http.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "", "the headers are too large"}
	}
	return problem{http.StatusBadRequest, "invalid_request", "", "the request cannot be read: " + err.Error()}
}
