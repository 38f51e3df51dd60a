package http

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
)

//go:embed ui/index.html
var uiPage []byte

//go:embed ui/app.js
var uiScript []byte

//go:embed ui/app.css
var uiStyle []byte

//go:embed openapi.yaml
var openAPIText []byte

// uiPolicy lets the dashboard load its own script and style, and talk to this
// API; nothing else, from nowhere else.
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is a file that is a part of the program.
type asset struct {
	contentType string
	body        []byte
	etag        string
}

func newAsset(contentType string, body []byte) asset {
	return asset{contentType, body, fmt.Sprintf(`"%x"`, sha256.Sum256(body))[:17] + `"`}
}

// uiAssets are the files that the dashboard's page names.
func uiAssets() map[string]asset {
	return map[string]asset{
		"app.js":  newAsset("text/javascript; charset=utf-8", uiScript),
		"app.css": newAsset("text/css; charset=utf-8", uiStyle),
	}
}

// ServeHTTP sends the file; a browser that has it is told so. It is asked for
// again every time, so that an upgraded node never serves half of two pages.
func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", a.etag)
	w.Header().Set("Cache-Control", "no-cache")
	if matches(r.Header.Values("If-None-Match"), a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, http.StatusOK, a.contentType, a.body)
}

// ui serves the dashboard: one page without anything from elsewhere.
func (h *Handler) ui(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", uiPolicy)
	newAsset("text/html; charset=utf-8", uiPage).ServeHTTP(w, r)
}

// openAPI serves the description of the API.
func (h *Handler) openAPI(w http.ResponseWriter, r *http.Request) {
	newAsset("application/yaml", openAPIText).ServeHTTP(w, r)
}
