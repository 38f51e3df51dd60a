package kvapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"unicode/utf8"
)

// The bodies of almost all requests and answers are a few strings without
// anything to escape. They are read and written here; whatever else comes is
// left to encoding/json, whose result is the same.

// plainBody reads the body of a write, and reports whether it could.
func plainBody(b []byte) (req body, ok bool) {
	if !utf8.Valid(b) {
		return body{}, false
	}
	if b, ok = token(b, '{'); !ok {
		return body{}, false
	}
	for {
		var name, s string
		if name, b, ok = plainString(b); !ok {
			return body{}, false
		}
		if b, ok = token(b, ':'); !ok {
			return body{}, false
		}
		if s, b, ok = plainString(b); !ok {
			return body{}, false
		}
		switch {
		case name == "key" && req.Key == nil:
			req.Key = &s
		case name == "value" && req.Value == nil:
			req.Value = &s
		default:
			return body{}, false
		}
		if rest, more := token(b, ','); more {
			b = rest
			continue
		}
		b, ok = token(b, '}')
		return req, ok && len(space(b)) == 0
	}
}

// space returns what follows white space.
func space(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// token returns what follows a character, after white space.
func token(b []byte, want byte) (rest []byte, ok bool) {
	b = space(b)
	if len(b) == 0 || b[0] != want {
		return b, false
	}
	return b[1:], true
}

// plainString reads a string in which nothing is escaped.
func plainString(b []byte) (s string, rest []byte, ok bool) {
	b, ok = token(b, '"')
	if !ok {
		return "", b, false
	}
	end := bytes.IndexByte(b, '"')
	if end < 0 || !plain(b[:end]) {
		return "", b, false
	}
	return string(b[:end]), b[end+1:], true
}

// plain reports whether a string is its own form in JSON.
func plain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendString appends a string as JSON.
func appendString[T string | []byte](b []byte, s T) []byte {
	if ascii(s) && plain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var escaped bytes.Buffer
	e := json.NewEncoder(&escaped)
	e.SetEscapeHTML(false)
	_ = e.Encode(string(s)) // a string always can be
	return append(b, bytes.TrimSuffix(escaped.Bytes(), []byte("\n"))...)
}

func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// room is about what the names and marks of an answer take.
const room = 64

func encodeWritten(w *Written) answer {
	b := make([]byte, 0, room+len(w.Status)+len(w.Role)+len(w.Node)+len(w.Partition))
	b = appendString(append(b, `{"status":`...), w.Status)
	b = appendString(append(b, `,"role":`...), w.Role)
	b = appendString(append(b, `,"node":`...), w.Node)
	b = appendString(append(b, `,"partition":`...), w.Partition)
	return answer{status: http.StatusOK, body: append(b, '}', '\n')}
}

func encodePair(key string, value []byte) answer {
	b := make([]byte, 0, room+len(key)+len(value))
	b = appendString(append(b, `{"key":`...), key)
	b = appendString(append(b, `,"value":`...), value)
	return answer{status: http.StatusOK, body: append(b, '}', '\n')}
}
