package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// protocol is what an HTTP connection is upgraded to.
	protocol = "kv-wire/1"
	// toHeader names whom the caller means to reach.
	toHeader = "Kv-To"
	// shakeWithin bounds dialing and the handshake.
	shakeWithin = time.Second
)

// Dialer returns a DialFunc that upgrades an HTTP connection to host:port.
// The other side refuses when it is not the one that to names, so that a node
// which took over an address of another is not mistaken for it.
func Dialer(addr, path, to string) DialFunc {
	return DialerOver((&net.Dialer{}).DialContext, addr, path, to)
}

// DialerOver is Dialer over another network than the machine's.
func DialerOver(dial func(ctx context.Context, network, addr string) (net.Conn, error), addr, path, to string) DialFunc {
	return func(ctx context.Context) (net.Conn, *bufio.Reader, error) {
		ctx, cancel := context.WithTimeout(ctx, shakeWithin)
		defer cancel()
		conn, err := dial(ctx, "tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		r, err := shake(conn, addr, path, to)
		if err == nil {
			err = giveUp(conn)
		}
		if err != nil {
			_ = conn.Close()
			return nil, nil, err
		}
		return conn, r, nil
	}
}

func shake(conn net.Conn, addr, path, to string) (*bufio.Reader, error) {
	if err := conn.SetDeadline(time.Now().Add(shakeWithin)); err != nil {
		return nil, err
	}
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %s\r\n\r\n", path, addr, protocol, toHeader, to)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, readBuffer)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only for the message
		return nil, fmt.Errorf("wire: %s answers %s: %s", addr, resp.Status, text)
	}
	return r, conn.SetDeadline(time.Time{})
}

// Upgrade takes an HTTP connection over, for Serve. The caller has answered
// the request if it returns an error.
func Upgrade(w http.ResponseWriter, r *http.Request, self string) (net.Conn, *bufio.Reader, error) {
	if r.Header.Get("Upgrade") != protocol {
		w.Header().Set("Upgrade", protocol)
		http.Error(w, "this address is for other nodes", http.StatusUpgradeRequired)
		return nil, nil, fmt.Errorf("wire: %s asks for %q", r.RemoteAddr, r.Header.Get("Upgrade"))
	}
	if to := r.Header.Get(toHeader); to != self {
		http.Error(w, "this is "+self, http.StatusMisdirectedRequest)
		return nil, nil, fmt.Errorf("wire: %s looks for %.80q", r.RemoteAddr, to)
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this connection cannot be upgraded", http.StatusInternalServerError)
		return nil, nil, fmt.Errorf("wire: take over the connection: %w", err)
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	if err == nil {
		err = errors.Join(conn.SetDeadline(time.Time{}), giveUp(conn))
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("wire: answer %s: %w", r.RemoteAddr, err)
	}
	// The server's reader is small and belongs to it; what it holds already
	// must not get lost.
	return conn, bufio.NewReaderSize(io.MultiReader(io.LimitReader(rw.Reader, int64(rw.Reader.Buffered())), conn), readBuffer), nil
}
