package kvapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
		problem{http.StatusNotFound, "not_found", "", "use POST /kv/set, GET /kv/get?key=, POST /kv/delete or GET /kv/stats"}.answer(w)
	})
	return m
}

// only refuses every other method.
func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			problem{http.StatusMethodNotAllowed, "method_not_allowed", "", "use " + method}.answer(w)
			return
		}
		h(w, r)
	}
}

// problem is an error as the API tells it.
type problem struct {
	status  int
	code    string
	field   string // that is wrong, if one is
	message string
}

func (p problem) answer(w http.ResponseWriter) {
	e := map[string]string{"code": p.code, "message": p.message}
	if p.field != "" {
		e["field"] = p.field
	}
	respond(w, p.status, map[string]any{"error": e})
}

// Refuse answers that a parameter of a request is wrong, for a store that has
// parameters of its own.
func Refuse(w http.ResponseWriter, field, message string) {
	problem{http.StatusBadRequest, "invalid_parameter", field, message}.answer(w)
}

func respond(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
}

// body is that of a write.
type body struct {
	Key   *string `json:"key"`
	Value *string `json:"value"`
}

// decodeBody returns the body of a write, or what is wrong with it.
func decodeBody(b []byte, wantValue bool) (req body, bad *problem) {
	invalid := func(field, message string) *problem {
		return &problem{http.StatusBadRequest, "invalid_body", field, message}
	}
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

var keyRule = fmt.Sprintf("key must have 1 to %d bytes", maxKey)

func validKey(key string) bool { return len(key) >= 1 && len(key) <= maxKey }

func (a *api) set(w http.ResponseWriter, r *http.Request) { a.write(w, r, true) }

func (a *api) delete(w http.ResponseWriter, r *http.Request) { a.write(w, r, false) }

func (a *api) write(w http.ResponseWriter, r *http.Request, set bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		problem{http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the body is larger than %d bytes", maxBody)}.answer(w)
		return
	case err != nil:
		problem{http.StatusBadRequest, "invalid_body", "", "the body ended early: " + err.Error()}.answer(w)
		return
	}
	in, bad := decodeBody(b, set)
	if bad != nil {
		bad.answer(w)
		return
	}
	var done Written
	if set {
		done, err = a.store.Set(r.Context(), *in.Key, []byte(*in.Value))
	} else {
		done, err = a.store.Delete(r.Context(), *in.Key)
	}
	if err != nil {
		a.fail(w, err)
		return
	}
	done.Status = "ok"
	respond(w, http.StatusOK, done)
}

// pair is the answer to a read.
type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("key")
	switch {
	case !validKey(key):
		problem{http.StatusBadRequest, "invalid_parameter", "key", keyRule + ": GET /kv/get?key=…"}.answer(w)
		return
	case !utf8.ValidString(key):
		problem{http.StatusBadRequest, "invalid_parameter", "key", "key is not UTF-8"}.answer(w)
		return
	}
	value, found, err := a.store.Get(r.Context(), key)
	switch {
	case err != nil:
		a.fail(w, err)
	case !found:
		problem{http.StatusNotFound, "key_not_found", "key", "the key is not stored"}.answer(w)
	default:
		respond(w, http.StatusOK, pair{Key: key, Value: string(value)})
	}
}

func (a *api) stats(w http.ResponseWriter, _ *http.Request) {
	s, err := a.store.Stats()
	if err != nil {
		a.fail(w, err)
		return
	}
	respond(w, http.StatusOK, s)
}

// fail answers a request that was valid and could not be carried out.
func (a *api) fail(w http.ResponseWriter, err error) {
	code := ""
	switch {
	case errors.Is(err, ErrUnknown):
		code = "outcome_unknown"
	case errors.Is(err, ErrUnavailable):
		code = "unavailable"
	case errors.Is(err, ErrBusy):
		code = "busy"
	default:
		a.logger.Error("a request failed", "error", err)
		problem{http.StatusInternalServerError, "internal", "", err.Error()}.answer(w)
		return
	}
	w.Header().Set("Retry-After", "1")
	problem{http.StatusServiceUnavailable, code, "", err.Error()}.answer(w)
}
