package http

import "net/http"

// keys says which node has which gossip keys.
func (h *Handler) keys(w http.ResponseWriter, r *http.Request) { h.changeKeys(w, r, KeyChange{}) }

// installKey takes a key, where nobody can read it on the way.
func (h *Handler) installKey(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil && !fromThisMachine(r) && !h.c.Access.Anyone {
		fail(w, &failure{codeForbidden, "the key would cross the network in clear: send it over https, or from the node's own machine to a loopback address"})
		return
	}
	var in struct {
		Key []byte `json:"key"`
	}
	f := decode(w, r, &in)
	if f == nil && len(in.Key) == 0 {
		f = &failure{codeMissing, `the field key is required: {"key":"BASE64"}, of 16, 24 or 32 random bytes`}
	}
	if f != nil {
		fail(w, f)
		return
	}
	h.changeKeys(w, r, KeyChange{Do: "install", Key: in.Key})
}

// stepKeys has a key used or removed.
func (h *Handler) stepKeys(do string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Fingerprint string `json:"fingerprint"`
		}
		f := decode(w, r, &in)
		if f == nil && in.Fingerprint == "" {
			f = &failure{codeMissing, `the field fingerprint is required: {"fingerprint":"…"}, as GET ` + h.c.Prefix + `/gossip/keys lists them`}
		}
		if f != nil {
			fail(w, f)
			return
		}
		h.changeKeys(w, r, KeyChange{Do: do, Fingerprint: in.Fingerprint})
	}
}

func (h *Handler) changeKeys(w http.ResponseWriter, r *http.Request, c KeyChange) {
	nodes, err := h.c.Operator.GossipKeys(r.Context(), c)
	if err != nil {
		fail(w, operationFailure(err))
		return
	}
	for i := range nodes {
		if nodes[i].Keys == nil {
			nodes[i].Keys = []string{}
		}
	}
	answer(w, map[string]any{"nodes": nodes})
}
