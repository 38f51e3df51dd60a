package kvapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"unicode/utf8"
)

const (
	maxBody = 1 << 20
	maxKey  = 4 << 10
)

// api is the HTTP API of one node.
type api struct {
	store  Store
	logger *slog.Logger
}

// NewMux routes the API to a store. More routes may be added to the mux, which
// answers everything else with what there is.
func NewMux(store Store, logger *slog.Logger) *http.ServeMux {
	a := &api{store: store, logger: logger}
	m := http.NewServeMux()
	m.HandleFunc("/kv/set", only(http.MethodPost, a.set))
	m.HandleFunc("/kv/delete", only(http.MethodPost, a.delete))
	m.HandleFunc("/kv/get", only(http.MethodGet, a.get))
	m.HandleFunc("/kv/stats", only(http.MethodGet, a.stats))
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem{http.StatusNotFound, "not_found", "", "use POST /kv/set, GET /kv/get?key=, POST /kv/delete or GET /kv/stats"}.answer().send(w)
	})
	return m
}

// only refuses every other method.
func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			problem{http.StatusMethodNotAllowed, "method_not_allowed", "", "use " + method}.answer().send(w)
			return
		}
		h(w, r)
	}
}

// answer is a response of the API, however it is sent.
type answer struct {
	status int
	body   []byte // JSON
	retry  bool   // the client may try again after a second
}

func (a answer) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	if a.retry {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone needs no answer
}

const (
	contentType = "application/json"
	retryAfter  = "1"
)

// problem is an error as the API tells it.
type problem struct {
	status  int
	code    string
	field   string // that is wrong, if one is
	message string
}

func (p problem) answer() answer {
	e := map[string]string{"code": p.code, "message": p.message}
	if p.field != "" {
		e["field"] = p.field
	}
	return encode(p.status, map[string]any{"error": e})
}

// Refuse answers that a parameter of a request is wrong, for a store that has
// parameters of its own.
func Refuse(w http.ResponseWriter, field, message string) {
	problem{http.StatusBadRequest, "invalid_parameter", field, message}.answer().send(w)
}

// encode answers with any value as JSON.
func encode(status int, v any) answer {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return answer{status: http.StatusInternalServerError, body: []byte(`{"error":{"code":"internal"}}` + "\n")}
	}
	return answer{status: status, body: b.Bytes()}
}

// body is that of a write.
type body struct {
	Key   *string `json:"key"`
	Value *string `json:"value"`
}

// decodeBody returns the body of a write, or what is wrong with it.
func decodeBody(b []byte, wantValue bool) (req body, bad *problem) {
	req, plain := plainBody(b)
	if !plain {
		if req, bad = anyBody(b); bad != nil {
			return req, bad
		}
	}
	switch {
	case req.Key == nil:
		return req, invalid("key", "the field key is required")
	case !validKey(*req.Key):
		return req, invalid("key", keyRule)
	case wantValue && req.Value == nil:
		return req, invalid("value", "the field value is required")
	case !wantValue && req.Value != nil:
		return req, invalid("value", "a deletion has no field value")
	}
	return req, nil
}

func invalid(field, message string) *problem {
	return &problem{http.StatusBadRequest, "invalid_body", field, message}
}

// anyBody reads a body as encoding/json does.
func anyBody(b []byte) (req body, bad *problem) {
	if !utf8.Valid(b) {
		// The decoder would replace what is not UTF-8, and store another key.
		return req, invalid("", "the body is not UTF-8: encode binary data, for example as base64")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var wrong *json.UnmarshalTypeError
	switch err := d.Decode(&req); {
	case errors.As(err, &wrong) && wrong.Field != "":
		return req, invalid(wrong.Field, fmt.Sprintf("the field %s must be a string, not a %s", wrong.Field, wrong.Value))
	case errors.Is(err, io.EOF):
		return req, invalid("", `the body is empty: send {"key":"…","value":"…"}`)
	case err != nil:
		return req, invalid("", `the body is not {"key":"…","value":"…"}: `+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return req, invalid("", "something follows the JSON object")
	}
	return req, nil
}

var keyRule = fmt.Sprintf("key must have 1 to %d bytes", maxKey)

func validKey(key string) bool { return len(key) >= 1 && len(key) <= maxKey }

func (a *api) set(w http.ResponseWriter, r *http.Request) { a.write(w, r, true) }

func (a *api) delete(w http.ResponseWriter, r *http.Request) { a.write(w, r, false) }

func (a *api) write(w http.ResponseWriter, r *http.Request, set bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		tooLarge.answer().send(w)
	case err != nil:
		invalid("", "the body ended early: "+err.Error()).answer().send(w)
	default:
		a.doWrite(r.Context(), b, set).send(w)
	}
}

var tooLarge = problem{http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the body is larger than %d bytes", maxBody)}

// doWrite carries out a write of a body.
func (a *api) doWrite(ctx context.Context, b []byte, set bool) answer {
	in, bad := decodeBody(b, set)
	if bad != nil {
		return bad.answer()
	}
	var done Written
	var err error
	if set {
		done, err = a.store.Set(ctx, *in.Key, []byte(*in.Value))
	} else {
		done, err = a.store.Delete(ctx, *in.Key)
	}
	if err != nil {
		return a.failed(err)
	}
	done.Status = "ok"
	return encodeWritten(&done)
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	a.doGet(r.Context(), r.URL.Query().Get("key")).send(w)
}

// doGet carries out a read.
func (a *api) doGet(ctx context.Context, key string) answer {
	switch {
	case !validKey(key):
		return problem{http.StatusBadRequest, "invalid_parameter", "key", keyRule + ": GET /kv/get?key=…"}.answer()
	case !utf8.ValidString(key):
		return problem{http.StatusBadRequest, "invalid_parameter", "key", "key is not UTF-8"}.answer()
	}
	value, found, err := a.store.Get(ctx, key)
	switch {
	case err != nil:
		return a.failed(err)
	case !found:
		return problem{http.StatusNotFound, "key_not_found", "key", "the key is not stored"}.answer()
	}
	return encodePair(key, value)
}

func (a *api) stats(w http.ResponseWriter, _ *http.Request) {
	s, err := a.store.Stats()
	if err != nil {
		a.failed(err).send(w)
		return
	}
	encode(http.StatusOK, s).send(w)
}

// failed answers a request that was valid and could not be carried out.
func (a *api) failed(err error) answer {
	code := ""
	switch {
	case errors.Is(err, ErrUnknown):
		code = CodeUnknown
	case errors.Is(err, ErrUnavailable):
		code = "unavailable"
	case errors.Is(err, ErrBusy):
		code = "busy"
	default:
		a.logger.Error("a request failed", "error", err)
		return problem{http.StatusInternalServerError, "internal", "", err.Error()}.answer()
	}
	again := problem{http.StatusServiceUnavailable, code, "", err.Error()}.answer()
	again.retry = true
	return again
}
