package http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/skshohagmiah/clusterkit/topology"
)

// document is GET /cluster at one version, encoded once and only when somebody
// wants the body: a poller that knows the version costs no encoding.
type document struct {
	topology *topology.Topology
	etag     string

	once sync.Once
	body []byte
	err  error
}

// document returns the newest document, which is at least as new as t: a
// request that was slow to get here serves what a faster one has published.
func (h *Handler) document(t *topology.Topology) *document {
	for {
		d := h.cached.Load()
		if d != nil && d.topology.ClusterID == t.ClusterID && d.topology.Version >= t.Version {
			return d
		}
		fresh := &document{topology: t, etag: etag(t)}
		if h.cached.CompareAndSwap(d, fresh) {
			return fresh
		}
	}
}

// encoded returns the body. It blocks while another request encodes it.
func (d *document) encoded(encoding string) ([]byte, error) {
	d.once.Do(func() {
		d.body, d.err = json.Marshal(d.topology.Document(encoding))
		d.body = append(d.body, '\n')
	})
	return d.body, d.err
}

// etag names a version of a cluster; another cluster's never matches. Pure.
func etag(t *topology.Topology) string {
	id := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && r != '"' {
			return r
		}
		return '_' // no tag may hold it; cluster ids never do
	}, t.ClusterID)
	return fmt.Sprintf(`"%s-%d"`, id, t.Version)
}

// cluster serves the whole map. ETag changes with every committed change.
func (h *Handler) cluster(w http.ResponseWriter, r *http.Request) {
	if !h.awaitNewer(w, r) {
		return
	}
	t, ok := h.founded(w)
	if !ok {
		return
	}
	// Tag and body come from one value: a change between the two must not
	// pair an old map with a new tag.
	d := h.document(t)
	w.Header().Set("ETag", d.etag)
	w.Header().Set("Cache-Control", "no-cache")
	if matches(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, err := d.encoded(h.c.Source.Encoding())
	if err != nil {
		w.Header().Del("ETag")
		fail(w, &failure{codeInternal, err.Error()})
		return
	}
	send(w, http.StatusOK, "application/json", body)
}

// matches applies If-None-Match (RFC 9110, 13.1.2): lists of tags compared
// weakly, or * for any. What is no list of tags matches nothing. Pure.
func matches(headers []string, tag string) bool {
	for _, rest := range headers {
		if strings.TrimSpace(rest) == "*" {
			return true
		}
		for {
			rest = strings.TrimLeft(rest, " \t,")
			candidate := strings.TrimPrefix(rest, "W/")
			if len(candidate) == 0 || candidate[0] != '"' {
				break
			}
			// A tag may hold a comma, so that splitting would not do.
			end := strings.IndexByte(candidate[1:], '"')
			if end < 0 {
				break
			}
			if candidate[:end+2] == tag {
				return true
			}
			rest = candidate[end+2:]
		}
	}
	return false
}
