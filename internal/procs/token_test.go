package procs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRequestsCarryTheToken that the nodes were given.
func TestRequestsCarryTheToken(t *testing.T) {
	t.Parallel()
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.Header.Get("Authorization"))
		_, _ = w.Write([]byte("{}"))
	}))
	defer s.Close()
	for _, token := range []string{"", "secret"} {
		c, err := New(Config{Dir: t.TempDir(), Nodes: 1, Env: map[string]string{"AUTH_TOKEN": token}})
		if err != nil {
			t.Fatal(err)
		}
		n := c.Nodes[0]
		n.HTTP = strings.TrimPrefix(s.URL, "http://")
		var answer struct{}
		if err := ask(t.Context(), n, "/cluster", &answer); err != nil {
			t.Error(err)
		}
		if _, err := post(t.Context(), n, "/rebalance", []byte("{}")); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(seen, ", "); got != "GET , POST , GET Bearer secret, POST Bearer secret" {
		t.Errorf("sent %q", got)
	}
}
