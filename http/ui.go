package http

import (
	_ "embed"
	"net/http"
)

//go:embed ui.html
var uiPage []byte

// ui serves the dashboard: one page without anything from elsewhere.
func (h *Handler) ui(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'")
	_, _ = w.Write(uiPage) // the client is gone: nobody to tell
}
