package http

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// checkQuery refuses a query that cannot be read, names a parameter that the
// endpoint does not take, or gives one twice: a typing error must not look
// like an answer. Pure.
func checkQuery(r *http.Request, takes []string) *failure {
	if r.URL.RawQuery == "" || slices.Contains(takes, "*") {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &failure{codeInvalid, "the query cannot be read: escape it as application/x-www-form-urlencoded"}
	}
	// In order, so that the same query gets the same answer.
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch {
		case !slices.Contains(takes, name) && len(takes) == 0:
			return &failure{codeInvalid, fmt.Sprintf("the parameter %s is unknown: this endpoint takes none", quoted(name))}
		case !slices.Contains(takes, name):
			return &failure{codeInvalid, fmt.Sprintf("the parameter %s is unknown: this endpoint takes %s", quoted(name), strings.Join(takes, ", "))}
		case len(q[name]) > 1:
			return &failure{codeInvalid, fmt.Sprintf("the parameter %s is given %d times: give it once", name, len(q[name]))}
		}
	}
	return nil
}

// quoted returns what a client sent, shortened, for an error message.
func quoted(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// required returns a parameter that must be given and not be empty.
func required(r *http.Request, name string) (string, *failure) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return "", &failure{codeMissing, fmt.Sprintf("the parameter %s is missing: add ?%s=…", name, name)}
	}
	return v, nil
}

// windowQuery are the parameters of endpoints that serve lists.
var windowQuery = []string{"offset", "limit"}

// window returns the part of a list of n elements that the request asks for:
// all of it, unless it names an offset or a limit. Pure.
func window(r *http.Request, n int) (from, to int, f *failure) {
	q := r.URL.Query()
	number := func(name string, otherwise int) int {
		if !q.Has(name) || f != nil {
			return otherwise
		}
		v, err := strconv.ParseUint(q.Get(name), 10, 31)
		if err != nil {
			f = &failure{codeInvalid, fmt.Sprintf("the parameter %s is %s: use a whole number from 0 to %d", name, quoted(q.Get(name)), 1<<31-1)}
		}
		return int(v)
	}
	from = min(number("offset", 0), n)
	to = from + min(number("limit", n), n-from)
	return from, to, f
}
