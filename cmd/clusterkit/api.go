package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
)

const (
	dialWithin   = 3 * time.Second
	answerWithin = 10 * time.Second // a whole answer, for a cluster of any size
	// operateWithin bounds an operation: the node itself gives up earlier.
	operateWithin = 15 * time.Second
	// maxAnswer bounds what is read: several times the largest answer there can be.
	maxAnswer = 256 << 20
)

// address is a node's public HTTP API: HOST:PORT, or a URL where the API has
// a prefix.
type address struct {
	base *url.URL
	bare bool // no scheme was given
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *address) UnmarshalText(b []byte) error {
	text := string(b)
	if !strings.Contains(text, "://") {
		if strings.HasPrefix(text, ":") {
			text = "127.0.0.1" + text
		}
		if _, _, err := net.SplitHostPort(text); err != nil {
			return fmt.Errorf("%q: write HOST:PORT of a node's HTTP API, for example 127.0.0.1:8080", b)
		}
		text, a.bare = "http://"+text, true
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q: write HOST:PORT of a node's HTTP API, for example 127.0.0.1:8080", b)
	}
	a.base = u
	return nil
}

// api are the flags that every command that asks a node has.
type api struct {
	Addr      address `required:"" placeholder:"HOST:PORT" help:"HTTP API of any node."`
	Token     string  `env:"CLUSTERKIT_TOKEN" placeholder:"TOKEN" help:"The cluster's token. Others on this machine see a command line: the variable, or --token-file, keeps it from them."`
	TokenFile string  `env:"CLUSTERKIT_TOKEN_FILE" placeholder:"FILE" help:"File with the cluster's token."`
	secure

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil for the machine's network
}

// secure are the flags of an API that speaks TLS.
type secure struct {
	CA     string `name:"ca" env:"CLUSTERKIT_CA" type:"path" placeholder:"FILE" help:"Speak HTTPS with nodes whose certificates this authority signed (TLS.CA)."`
	Cert   string `env:"CLUSTERKIT_CERT" type:"path" placeholder:"FILE" help:"Certificate to show, where the API asks for one."`
	Key    string `name:"key" env:"CLUSTERKIT_KEY" type:"path" placeholder:"FILE" help:"Private key of --cert."`
	Domain string `default:"clusterkit" help:"What the names of roles end in (TLS.Domain)."`
}

// config is for nodes that are known by their role, whatever their address is;
// nil without an authority.
func (s secure) config() (*tls.Config, error) {
	if (s.Cert == "") != (s.Key == "") || s.Cert != "" && s.CA == "" {
		return nil, errors.New("--cert needs --key, and both need --ca")
	}
	if s.CA == "" {
		return nil, nil
	}
	return certs.ForClient(s.CA, s.Cert, s.Key, s.Domain)
}

// client bounds everything but the length of a stream. It keeps no
// connections: a command asks a handful of times.
func (a api) client() (*http.Client, error) {
	tlsConfig, err := a.config()
	if err != nil {
		return nil, err
	}
	dial := a.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialWithin}).DialContext
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: dial, TLSClientConfig: tlsConfig, TLSHandshakeTimeout: dialWithin, ResponseHeaderTimeout: answerWithin, DisableKeepAlives: true},
		// A redirect is not an answer of ClusterKit.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// refused is an error that ClusterKit answered with.
type refused struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (r *refused) Error() string { return r.Message }

// open sends a GET and returns the answer if it is a good one. The caller
// closes its body.
func (a api) open(ctx context.Context, path string, query url.Values, header http.Header) (*http.Response, error) {
	u := a.Addr.base.JoinPath(path) //#nosec G125 -- the path is a constant of this program
	u.RawQuery = query.Encode()
	return a.send(ctx, http.MethodGet, u, nil, header)
}

// send sends a request and returns the answer if it is a good one.
func (a api) send(ctx context.Context, method string, u *url.URL, body io.Reader, header http.Header) (*http.Response, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	if a.Addr.bare && a.CA != "" {
		u.Scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if err := a.authorize(req); err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // it repeats the address
		}
		return nil, fmt.Errorf("%s cannot be reached: %w: name the HTTP address of a running node", u.Host, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Error *refused `json:"error"`
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && json.Unmarshal(text, &answer) == nil && answer.Error != nil && answer.Error.Code != "" {
		return nil, fmt.Errorf("%s answers: %w", u.Host, answer.Error)
	}
	return nil, a.stranger(u, resp.Status)
}

// maxTokenFile bounds a token file: a token has at most 512 characters.
const maxTokenFile = 4 << 10

// authorize gives a request the cluster's token, if there is one.
func (a api) authorize(req *http.Request) error {
	token := a.Token
	if a.TokenFile != "" && token == "" {
		f, err := os.Open(a.TokenFile)
		if err != nil {
			return fmt.Errorf("the token: %w", err)
		}
		defer func() { _ = f.Close() }()
		b, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
		if err != nil {
			return fmt.Errorf("the token: %w", err)
		}
		token = strings.TrimSpace(string(b))
		if token == "" {
			return fmt.Errorf("the token: %s is empty", a.TokenFile)
		}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has a character that does not fit into a header: copy it whole, on one line")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// stranger is the error for an answer that ClusterKit would not give.
func (a api) stranger(u *url.URL, what string) error {
	return fmt.Errorf("%s is no ClusterKit API: %s answers %s: name the HTTP address of a node, with its prefix if it has one", u.Host, u, what)
}

// get reads one JSON answer.
func (a api) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := a.open(ctx, path, query, nil)
	if err != nil {
		return err
	}
	return a.read(resp, into)
}

// post asks for an operation and reads its answer.
func (a api) post(ctx context.Context, path string, what, into any) error {
	ctx, cancel := context.WithTimeout(ctx, operateWithin)
	defer cancel()
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	//#nosec G125 -- the path is made of constants; names go into the body
	resp, err := a.send(ctx, http.MethodPost, a.Addr.base.JoinPath(path), bytes.NewReader(body), http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		return err
	}
	return a.read(resp, into)
}

// read reads one JSON answer and closes it.
func (a api) read(resp *http.Response, into any) error {
	defer func() { _ = resp.Body.Close() }()
	u := resp.Request.URL
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return a.stranger(u, fmt.Sprintf("with %q", kind))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", u.Host, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return a.stranger(u, "with JSON of another shape")
	}
	return nil
}
