package http

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheDashboardNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	w := get(h, "/ui")
	if w.Code != http.StatusOK || w.Header().Get("Content-Security-Policy") != uiPolicy || strings.Contains(uiPolicy, "unsafe") {
		t.Errorf("%d %s", w.Code, w.Header())
	}
	page := w.Body.String()
	names := regexp.MustCompile(`(?:href|src)="(ui/[^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(names) != 2 {
		t.Errorf("the page names %v", names)
	}
	for _, name := range names {
		w := get(h, "/"+name[1])
		if w.Code != http.StatusOK || w.Header().Get("ETag") == "" {
			t.Errorf("%s: %d %s", name[1], w.Code, w.Header())
		}
		if again := get(h, "/"+name[1], "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", name[1], again.Code)
		}
		page += w.Body.String()
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Error("the page refers to another site")
	}
	if strings.Contains(page, "style=") || strings.Contains(page, "innerHTML") || regexp.MustCompile(`\son[a-z]+="`).MatchString(page) {
		t.Error("the page does what its policy forbids, or what lets a node's name become markup")
	}
}

// TestOpenAPIKnowsEveryEndpoint, and no other.
func TestOpenAPIKnowsEveryEndpoint(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := New(Config{Source: f, Node: f, Started: time.Now(), Profiles: true})
	text := get(h, "/openapi.yaml").Body.String()
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^  (/[^:]*):$`).FindAllStringSubmatch(text, -1) {
		described = append(described, m[1])
	}
	want := []string{"/"}
	for _, p := range h.paths {
		if p = strings.TrimPrefix(p, "POST "); !slices.Contains(want, p) {
			want = append(want, p)
		}
	}
	slices.Sort(described)
	slices.Sort(want)
	if !slices.Equal(described, want) {
		t.Errorf("described: %v\nserved: %v", described, want)
	}
	for _, m := range regexp.MustCompile(`"#/components/([a-z]+)/(\w+)"`).FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`(?m)^    ` + m[2] + `:`).MatchString(text) {
			t.Errorf("%s names nothing", m[0])
		}
	}
}
