package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// maxJSON bounds the body of an operation.
const maxJSON = 64 << 10

// operations lists the endpoints that change something: by POST alone.
func (h *Handler) operations() []route {
	return []route{
		{"/nodes/{id}/cordon", h.intent(topology.IntentCordon), nil},
		{"/nodes/{id}/uncordon", h.intent(topology.IntentNone), nil},
		{"/nodes/{id}/drain", h.intent(topology.IntentDrain), nil},
		{"/nodes/{id}/undrain", h.intent(topology.IntentNone), nil},
		{"/nodes/{id}/leave", h.intent(topology.IntentLeave), nil},
		{"/nodes/{id}/remove", h.removeNode, nil},
		{"/nodes/{id}/restart-intent", h.restartIntent, nil},
		{"/nodes/{id}/weight", h.setWeight, nil},
		{"/partitions/{id}/move", h.movePartition, nil},
		{"/partitions/{id}/reset", h.resetReplica, nil},
		{"/rebalance", h.rebalanceNow, nil},
		{"/rebalance/pause", h.pause, nil},
		{"/rebalance/resume", h.resume, nil},
		{"/rebalance/plan", h.plan, nil},
		{"/data", h.putData, []string{"key"}},
		{"/data/delete", h.deleteData, []string{"key"}},
		{"/gossip/keys/install", h.installKey, nil},
		{"/gossip/keys/use", h.stepKeys("use"), nil},
		{"/gossip/keys/remove", h.stepKeys("remove"), nil},
	}
}

// operation wraps a mutating endpoint: there must be an operator, and the
// request must not come from a page of another site.
func (h *Handler) operation(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if h.c.Operator == nil {
			fail(w, &failure{codeNotImplemented, "this handler was mounted without an operator: ask a node's own HTTP address"})
			return
		}
		if err := h.sameSite.Check(r); err != nil {
			fail(w, &failure{codeForbidden, "the request comes from a page of another site"})
			return
		}
		serve(w, r)
	}
}

// decode reads the JSON body of an operation, strictly: what is misspelt must
// not count as left out. An empty body is {}.
func decode(w http.ResponseWriter, r *http.Request, into any) *failure {
	body, err := io.ReadAll(bounded(w, r, maxJSON))
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return &failure{codeBody, fmt.Sprintf("the body has more than %d bytes", maxJSON)}
	} else if err != nil {
		return &failure{codeBadRequest, "the body cannot be read: " + err.Error()}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &failure{codeMediaType, "send the body as Content-Type: application/json"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	var wrong *json.UnmarshalTypeError
	switch err := d.Decode(into); {
	case errors.As(err, &wrong) && wrong.Field != "":
		return &failure{codeInvalid, fmt.Sprintf("the field %s must be a %s, not a %s", wrong.Field, wrong.Type, wrong.Value)}
	case err != nil:
		return &failure{codeBadRequest, "the body is not the JSON object that the endpoint takes: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &failure{codeBadRequest, "something follows the JSON object"}
	}
	return nil
}

// decodeNothing refuses a body with anything in it.
func decodeNothing(w http.ResponseWriter, r *http.Request) *failure {
	return decode(w, r, &struct{}{})
}

// finish answers an operation: with the version that this node has applied, so
// that a caller can wait for it elsewhere.
func (h *Handler) finish(w http.ResponseWriter, err error) {
	if err != nil {
		fail(w, operationFailure(err))
		return
	}
	answer(w, map[string]uint64{"version": h.c.Source.Topology().Version})
}

func (h *Handler) intent(i topology.NodeIntent) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f := decodeNothing(w, r); f != nil {
			fail(w, f)
			return
		}
		h.finish(w, h.c.Operator.SetIntent(r.Context(), r.PathValue("id"), i))
	}
}

func (h *Handler) removeNode(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Force bool `json:"force"`
	}
	if f := decode(w, r, &in); f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.RemoveNode(r.Context(), r.PathValue("id"), in.Force))
}

func (h *Handler) restartIntent(w http.ResponseWriter, r *http.Request) {
	var in struct {
		TTL *string `json:"ttl"`
	}
	f := decode(w, r, &in)
	ttl, bad := parseDuration("ttl", in.TTL, true)
	if f == nil {
		f = bad
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.RestartIntent(r.Context(), r.PathValue("id"), ttl))
}

func (h *Handler) setWeight(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Weight *int `json:"weight"`
	}
	f := decode(w, r, &in)
	if f == nil && in.Weight == nil {
		f = &failure{codeMissing, `the field weight is required: {"weight":3}; 0 gives it back to the node`}
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.SetWeight(r.Context(), r.PathValue("id"), *in.Weight))
}

func (h *Handler) movePartition(w http.ResponseWriter, r *http.Request) {
	var in struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	f := decode(w, r, &in)
	if f == nil && in.To == "" {
		f = &failure{codeMissing, `the field to is required: {"from":"node-1","to":"node-2"}; without from the primary moves`}
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.MovePartition(r.Context(), r.PathValue("id"), in.From, in.To))
}

func (h *Handler) resetReplica(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Node string `json:"node"`
	}
	f := decode(w, r, &in)
	if f == nil && in.Node == "" {
		f = &failure{codeMissing, `the field node is required: {"node":"node-2"}`}
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.ResetReplica(r.Context(), r.PathValue("id"), in.Node))
}

func (h *Handler) rebalanceNow(w http.ResponseWriter, r *http.Request) {
	if f := decodeNothing(w, r); f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.Rebalance(r.Context()))
}

func (h *Handler) pause(w http.ResponseWriter, r *http.Request) {
	var in struct {
		TTL    *string `json:"ttl"`
		Reason string  `json:"reason"`
	}
	f := decode(w, r, &in)
	ttl, bad := parseDuration("ttl", in.TTL, false)
	if f == nil {
		f = bad
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.Pause(r.Context(), ttl, in.Reason))
}

func (h *Handler) resume(w http.ResponseWriter, r *http.Request) {
	if f := decodeNothing(w, r); f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.Resume(r.Context()))
}

// parseDuration reads a duration in Go's form; nil means 0 unless it is required.
func parseDuration(field string, text *string, required bool) (time.Duration, *failure) {
	if text == nil {
		if required {
			return 0, &failure{codeMissing, fmt.Sprintf(`the field %s is required: {"%s":"2m"}; "0s" calls it off`, field, field)}
		}
		return 0, nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil || d < 0 {
		return 0, &failure{codeInvalid, fmt.Sprintf("the field %s is %.40q: use a duration such as 90s, 2m or 1h30m", field, *text)}
	}
	return d, nil
}

func (h *Handler) putData(w http.ResponseWriter, r *http.Request) {
	key, f := required(r, "key")
	if f != nil {
		fail(w, f)
		return
	}
	value, err := io.ReadAll(bounded(w, r, topology.MaxDataValue))
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		fail(w, &failure{codeBody, fmt.Sprintf("the value has more than %d bytes", topology.MaxDataValue)})
		return
	} else if err != nil {
		fail(w, &failure{codeBadRequest, "the body cannot be read: " + err.Error()})
		return
	}
	h.finish(w, h.c.Operator.PutData(r.Context(), key, value))
}

func (h *Handler) deleteData(w http.ResponseWriter, r *http.Request) {
	key, f := required(r, "key")
	if f == nil {
		f = decodeNothing(w, r)
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.finish(w, h.c.Operator.DeleteData(r.Context(), key))
}
