package http

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// code is a stable name of an error.
type code string

const (
	codeNotReady   code = "not_ready"
	codeNoLeader   code = "no_leader"
	codeMissing    code = "missing_parameter"
	codeInvalid    code = "invalid_parameter"
	codeBadRequest code = "bad_request"
	codeNotFound   code = "not_found"
	codeMethod     code = "method_not_allowed"
	codeBody       code = "body_too_large"
	codeURI        code = "uri_too_long"
	codeHeaders    code = "headers_too_large"
	codeBusy       code = "too_many_streams"
	codeConflict   code = "conflict"
	codeUnknown    code = "unknown"
	codeForbidden  code = "forbidden"
	codeMediaType  code = "unsupported_media_type"

	codeUnauthorized code = "unauthorized"
	codeShare        code = "too_many_of_one_host"

	codeNotImplemented code = "not_implemented"
	codeInternal       code = "internal"
)

// statusOf maps every code to its status, in one place.
var statusOf = map[code]int{
	codeNotReady:   http.StatusServiceUnavailable,
	codeNoLeader:   http.StatusServiceUnavailable,
	codeMissing:    http.StatusBadRequest,
	codeInvalid:    http.StatusBadRequest,
	codeBadRequest: http.StatusBadRequest,
	codeNotFound:   http.StatusNotFound,
	codeMethod:     http.StatusMethodNotAllowed,
	codeBody:       http.StatusRequestEntityTooLarge,
	codeURI:        http.StatusRequestURITooLong,
	codeHeaders:    http.StatusRequestHeaderFieldsTooLarge,
	codeBusy:       http.StatusServiceUnavailable,
	codeInternal:   http.StatusInternalServerError,
	codeConflict:   http.StatusConflict,
	codeUnknown:    http.StatusGatewayTimeout,
	codeForbidden:  http.StatusForbidden,
	codeMediaType:  http.StatusUnsupportedMediaType,

	codeUnauthorized: http.StatusUnauthorized,
	codeShare:        http.StatusTooManyRequests,

	codeNotImplemented: http.StatusNotImplemented,
}

// failure is an error on its way to the client. Its message names what was
// wrong and what to do.
type failure struct {
	code    code
	message string
}

// fail answers with an error.
func fail(w http.ResponseWriter, f *failure) {
	switch statusOf[f.code] {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="clusterkit"`)
	}
	write(w, statusOf[f.code], map[string]any{"error": map[string]string{"code": string(f.code), "message": f.message}})
}

// answer answers with a value.
func answer(w http.ResponseWriter, v any) { write(w, http.StatusOK, v) }

// write encodes first and sends then, so that the length is known and HEAD
// has the headers of GET.
func write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be encoded: this is a bug"}}`)
	}
	w.Header().Set("Cache-Control", "no-store")
	send(w, status, "application/json", append(body, '\n'))
}

// send sends a whole body.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	//#nosec G705 -- every caller names a type that is no page, the dashboard apart, and browsers may not sniff
	_, _ = w.Write(body) // the client is gone: nobody to tell
}
