package http

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Access says who may ask for what. The zero value takes reads from everybody
// and operations from this machine alone.
type Access struct {
	// Authorize decides about every request that needs permission: operations,
	// and with Reads almost everything else. nil admits it, an error that wraps
	// ErrForbidden is answered with 403, any other with 401; its text goes to
	// the client. It is called concurrently, and must not read the body.
	// Default: operations are taken from this machine alone.
	Authorize func(*http.Request) error
	// Reads makes reads need permission as well, but for /health, /ready,
	// /openapi.yaml and the dashboard's files, which say nothing of the cluster.
	Reads bool
	// Anyone takes operations from everybody when there is no Authorize.
	Anyone bool
}

var (
	// ErrUnauthorized: the request has no token, or a wrong one.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden: whoever asks is known, and may not.
	ErrForbidden = errors.New("forbidden")
)

// BearerTokens returns an Authorize function for [Access] that admits requests
// with "Authorization: Bearer" and one of the tokens; empty ones admit nobody.
// Comparing takes the same time whatever is sent. Two tokens let clients and
// nodes change over from one to the other.
func BearerTokens(tokens ...string) func(*http.Request) error {
	var sums [][sha256.Size]byte
	for _, t := range tokens {
		if t != "" {
			sums = append(sums, sha256.Sum256([]byte(t)))
		}
	}
	return func(r *http.Request) error {
		token, ok := bearer(r)
		if !ok {
			return errNoToken
		}
		sum, found := sha256.Sum256([]byte(token)), 0
		for i := range sums {
			found |= subtle.ConstantTimeCompare(sum[:], sums[i][:])
		}
		if found == 0 {
			return errWrongToken
		}
		return nil
	}
}

var (
	errNoToken    = refusal{"this needs the cluster's token: send Authorization: Bearer TOKEN", ErrUnauthorized}
	errWrongToken = refusal{"the token is not the cluster's: compare it with AuthToken of the node's options", ErrUnauthorized}
)

// refusal is an error in words for a client.
type refusal struct {
	text string
	kind error
}

func (e refusal) Error() string { return e.text }
func (e refusal) Unwrap() error { return e.kind }

// bearer returns the token that a request carries.
func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false // two of them are somebody's trick
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && strings.EqualFold(scheme, "Bearer")
}

// permission is what a request needs.
type permission uint8

const (
	toKnock   permission = iota // nothing is told that a stranger may not know
	toRead                      // looks at the cluster
	toOperate                   // changes it, or shows what only its operators should see
)

// needs returns what a request for a route needs. Pure.
func needs(method, path string) permission {
	switch {
	case method != http.MethodGet && method != http.MethodHead:
		return toOperate
	case path == "/gossip/keys" || strings.HasPrefix(path, "/debug/"):
		return toOperate
	case path == "/health" || path == "/ready" || path == "/openapi.yaml" || path == "/ui" || strings.HasPrefix(path, "/ui/"):
		return toKnock
	}
	return toRead
}

// permits returns nil if the request may have what it needs.
func (a Access) permits(r *http.Request, p permission) *failure {
	if p == toKnock || p == toRead && !a.Reads {
		return nil
	}
	switch {
	case a.Authorize != nil:
		err := a.Authorize(r)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrForbidden):
			return &failure{codeForbidden, err.Error()}
		}
		return &failure{codeUnauthorized, err.Error()}
	case a.Anyone || fromThisMachine(r):
		return nil
	}
	return notFromHere
}

// who says for a metric who has a permission.
func (a Access) who(p permission) string {
	switch {
	case p == toRead && !a.Reads:
		return "anyone"
	case a.Authorize != nil:
		return "token"
	case a.Anyone:
		return "anyone"
	}
	return "machine"
}

var notFromHere = &failure{codeForbidden, "this node has no token, and takes this from its own machine alone (by the name localhost or a loopback address, through no proxy): " +
	"set AuthToken on every node and send it, or Insecure to let everybody in"}

// fromThisMachine reports whether a request began on this machine: it came
// over the loopback interface or a Unix socket, no proxy passed it on, and no
// page of another site sent it here by a name that resolves to this machine.
func fromThisMachine(r *http.Request) bool {
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Envoy-") {
			return false
		}
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	return loopback(r.RemoteAddr) && (loopback(r.Host) || isLocalhost(r.Host))
}

// loopback reports whether addr, an IP or IP:port, lies on this machine.
func loopback(addr string) bool {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		addr = host
	}
	ip, err := netip.ParseAddr(strings.Trim(addr, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

func isLocalhost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
