package clusterkit

import (
	"net/http"
	"strings"

	ckhttp "github.com/skshohagmiah/clusterkit/http"
)

// ErrForbidden is for Options.Authorize: whoever asks is known, and may not.
// The answer is 403 instead of 401.
var ErrForbidden = ckhttp.ErrForbidden

// BearerTokens returns a function for Options.Authorize that admits requests
// with "Authorization: Bearer" and one of the tokens; empty ones admit nobody.
// Comparing takes the same time whatever is sent. To change the token of a
// cluster, give every node both, then every client and AuthToken the new one,
// then take the old one away.
func BearerTokens(tokens ...string) func(*http.Request) error { return ckhttp.BearerTokens(tokens...) }

const (
	// minToken keeps out tokens that can be guessed, maxToken those that would
	// fill the headers.
	minToken = 16
	maxToken = 512
)

// tokenCharacters are what a bearer token may consist of (RFC 6750, 2.1).
const tokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

func (s *settings) setAccess(bad func(string, ...any)) {
	if s.AuthToken != "" {
		// The token itself must not get into a log.
		switch n := len(s.AuthToken); {
		case n < minToken || n > maxToken:
			bad("AuthToken has %d characters: use %d to %d, for example of: head -c 32 /dev/urandom | base64", n, minToken, maxToken)
		case strings.Trim(s.AuthToken, tokenCharacters) != "":
			bad("AuthToken has a character that does not fit into a header: use A-Z a-z 0-9 - . _ ~ + / =")
		}
	}
	if s.AuthReads && s.AuthToken == "" && s.Authorize == nil {
		bad("AuthReads needs AuthToken or Authorize: nobody else could read")
	}
}

// access is who may ask the HTTP API for what.
func (s *settings) access() ckhttp.Access {
	a := ckhttp.Access{Authorize: s.Authorize, Reads: s.AuthReads, Anyone: s.Insecure}
	if a.Authorize == nil && s.AuthToken != "" {
		a.Authorize = ckhttp.BearerTokens(s.AuthToken)
	}
	return a
}

// warnOfAccess says at every start who may operate the cluster over HTTP, when
// that is more than the options say by themselves.
func (s *settings) warnOfAccess() {
	encrypted := s.TLS != nil && s.TLS.HTTP != HTTPPlain
	switch a := s.access(); {
	case !exposed(s.HTTPAddr):
	case s.AuthToken != "" && !encrypted:
		s.Logger.Warn("AuthToken crosses the network in clear: set TLS.HTTP, or listen on loopback behind a proxy that speaks TLS", "http", s.HTTPAddr)
	case a.Authorize != nil:
	case a.Anyone:
		s.Logger.Warn("anybody who reaches HTTPAddr can operate the cluster: set AuthToken", "http", s.HTTPAddr)
	default:
		s.Logger.Info("operations over HTTP are taken from this machine alone: set AuthToken to allow others", "http", s.HTTPAddr)
	}
}
