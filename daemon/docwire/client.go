package docwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// errReply is wrapped by what ParseReply returns.
var errReply = errors.New("unreadable reply")

// AppendRequest appends a request of version 1 (CFMS.md §2). data is anything
// that encoding/json encodes, an object as a rule; nil leaves it out. auth is
// left out if both username and token are empty, trace_id if it is. It panics on
// data that cannot be encoded.
func AppendRequest(dst []byte, name string, data any, username, token, traceID string) []byte {
	dst = appendInt(dst, `{"version":`, requestVersion)
	dst = appendText(dst, `,"request":`, name)
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			panic(fmt.Sprintf("docwire: data of %s: %v", name, err)) // the caller's own types
		}
		dst = append(append(dst, `,"data":`...), raw...)
	}
	if username != "" || token != "" {
		dst = appendText(dst, `,"auth":{"username":`, username)
		dst = append(appendText(dst, `,"token":`, token), '}')
	}
	if traceID != "" {
		dst = appendText(dst, `,"trace_id":`, traceID)
	}
	return append(dst, '}')
}

// Reply is an answer as a client reads it (CFMS.md §2).
type Reply struct {
	// Code is the contract: 0 is success, and 200 that of shutdown.
	Code int
	// Msg is for people.
	Msg string
	// Data is the raw data, nil if null or absent.
	Data json.RawMessage
	// Raw has all keys of the reply, these too.
	Raw map[string]json.RawMessage
}

// Text gives the string at a key of the reply, such as token; "" if there is
// none.
func (r *Reply) Text(key string) string {
	s, _ := literal(r.Raw[key]).text()
	return s
}

// ParseReply reads an answer, which must be an object with an integer code. The
// answer to a disconnect is none.
func ParseReply(msg []byte) (Reply, error) {
	var r Reply
	if err := json.Unmarshal(msg, &r.Raw); err != nil || r.Raw == nil {
		return Reply{}, fmt.Errorf("%w: %.100q", errReply, msg)
	}
	code, err := strconv.Atoi(string(r.Raw["code"]))
	if err != nil {
		return Reply{}, fmt.Errorf("%w: no code", errReply)
	}
	r.Code, r.Msg = code, r.Text("msg")
	if data := r.Raw["data"]; string(data) != "null" {
		r.Data = data
	}
	return r, nil
}
