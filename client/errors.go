package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

var (
	// ErrUnavailable: no attempt succeeded, and none may have been carried
	// out. The text says what each of the last ones met.
	ErrUnavailable = errors.New("client: unavailable: nothing was done")
	// ErrUnknown: a write may or may not have been carried out.
	ErrUnknown = errors.New("client: the outcome is unknown: the write may have been done")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("client: closed")
	// ErrNoMap: no seed has answered with a map within the context.
	ErrNoMap = errors.New("client: no node answers with a map of the cluster")
	// ErrIncompatible: the cluster hashes keys in a way, or has a map of a
	// form, that this version does not know. ErrNoMap wraps it.
	ErrIncompatible = errors.New("client: the map is not one that this version can route by: upgrade the client")
)

// NotPrimary says that the node that was asked is not the primary, and did
// nothing. hint is the ID or the address of the node that is, as far as the
// one that was asked knows; "" when it does not.
func NotPrimary(hint string) error { return &notPrimary{hint: hint} }

type notPrimary struct{ hint string }

func (e *notPrimary) Error() string {
	if e.hint == "" {
		return "client: the node is not the primary"
	}
	return fmt.Sprintf("client: the node is not the primary: ask %s", e.hint)
}

// NotDone says that an attempt failed with err before it had any effect:
// trying again, there or elsewhere, is safe even for a write.
func NotDone(err error) error { return &notDone{err: err} }

type notDone struct{ err error }

func (e *notDone) Error() string { return e.err.Error() }
func (e *notDone) Unwrap() error { return e.err }

// Final says that an attempt was answered, and that the answer is err: it is
// returned as it is, no other attempt is made, and no node is blamed. A key
// that does not exist is of this kind.
func Final(err error) error { return &final{err: err} }

type final struct{ err error }

func (e *final) Error() string { return e.err.Error() }
func (e *final) Unwrap() error { return e.err }

// verdict is what an attempt's error says.
type verdict uint8

const (
	// done: there is an answer.
	done verdict = iota
	// moved: the node is not the primary; it is well and nothing was done.
	moved
	// safe: nothing was done.
	safe
	// unsure: it may have been done.
	unsure
)

// judge sorts an attempt's error. A dial or a handshake that failed sent nothing.
func judge(err error) (verdict, string) {
	var np *notPrimary
	var nd *notDone
	var fin *final
	switch {
	case err == nil, errors.As(err, &fin):
		return done, ""
	case errors.As(err, &np):
		return moved, np.hint
	case errors.As(err, &nd), notSent(err):
		return safe, ""
	}
	return unsure, ""
}

// notSent reports whether no connection came about, so that nothing was sent.
func notSent(err error) bool {
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError // the other side speaks no TLS
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &certificate) || errors.As(err, &record)
}

// hopeless is an answer of a node that asking again will not change.
type hopeless struct{ err error }

func (e *hopeless) Error() string { return e.err.Error() }
func (e *hopeless) Unwrap() error { return e.err }
