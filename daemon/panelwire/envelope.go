// Package panelwire is the wire of panels, PROTOCOL.md: bytes become requests
// and actions, results and errors become bytes, in both directions. It is pure
// functions: no sockets, no goroutines, no clock. Whether a request may run,
// and what it does, is decided in package actions.
//
// A request is decoded in two steps, because its permission is checked in
// between: DecodeText or DecodeBinary read the envelope, DecodeParams the
// parameters. Both alias the message and decode a chunk's bytes over it, so the
// message belongs to the request until that has been answered, and cannot be
// decoded twice.
package panelwire

import (
	"bytes"
	"strings"

	"waybill/actions"
)

// Envelope is the shape a request came in and its reply goes back in.
type Envelope int

// The envelopes. An id key makes the difference, message by message.
const (
	EchoEnvelope Envelope = iota
	IDEnvelope
)

const (
	// maxID bounds a request's id, decoded, in bytes.
	maxID = 256
	// maxAction bounds what is kept of an action's name, which no known name
	// comes near.
	maxAction = 128
	// asyncSuffix after an action's name asks for it to run in the background.
	asyncSuffix = "_async"
)

// Request is a message whose envelope has been read. If that failed it still
// says how the refusal is to be answered.
type Request struct {
	Envelope Envelope
	// ID is the decoded id, "" in the echo envelope.
	ID string
	// RawID and RawEcho are the literals to send back, nil if absent. They
	// alias the message.
	RawID, RawEcho []byte
	// Action is the name as sent, an alias perhaps, without _async.
	Action string
	// Async tells that _async was behind the name.
	Async bool
	// Attachment is the attachment of a request packet, which alone has one.
	Attachment    []byte
	HasAttachment bool

	fields    [fieldCount]literal
	badParams bool // params is there and no object

	// units is a data that was decoded while it was scanned; its field is
	// nil then. That is only done to what cannot be base64.
	units   []byte
	decoded bool
}

// Orderless reports whether the reply has nothing to be told by but its place:
// such requests are answered in the order they came.
func (r *Request) Orderless() bool { return r.RawID == nil && r.RawEcho == nil }

// DecodeText reads the envelope of a text frame. The error is an
// *actions.Error with CodeBadRequest, and Request then carries what AppendError
// needs to answer it. The Request aliases msg, which is partly overwritten.
func DecodeText(msg []byte) (Request, error) {
	var (
		r                      Request
		action, params, id, ec literal
	)
	s := scanner{b: msg}
	ok := s.text(func() bool {
		return s.object(0, func(key []byte) bool {
			from, into := s.i, (*literal)(nil)
			switch name := plainKey(key); string(name) {
			case "params":
				into = &params
				// A later params replaces all of an earlier one.
				r.fields, r.units, r.decoded = [fieldCount]literal{}, nil, false
				if s.peek() == '{' {
					if !r.scanParams(&s) {
						return false
					}
					*into = msg[from:s.i]
					return true
				}
			case "action":
				into = &action
			case "id":
				into = &id
			case "echo":
				into = &ec
			}
			if !s.value(1) {
				return false
			}
			if into != nil {
				*into = msg[from:s.i]
			}
			return true
		})
	})
	if !ok {
		// An unreadable message has no envelope: answered in id form.
		return Request{Envelope: IDEnvelope}, unreadable(msg, s.i)
	}
	params = params.orAbsent()
	r.badParams = params != nil && !params.isObject()
	return r, r.address(action.orAbsent(), id.orAbsent(), ec.orAbsent())
}

// address fills in what a reply needs, then the action's name.
func (r *Request) address(action, id, echo literal) error {
	if id != nil {
		r.Envelope = IDEnvelope
		if !id.isString() {
			return actions.Errorf(actions.CodeBadRequest, "id is not a string")
		}
		// Six bytes of literal make at least one of text.
		text, fits := []byte(nil), len(id) <= 6*maxID+2
		if fits {
			text, _ = id.text()
		}
		if !fits || len(text) > maxID {
			return actions.Errorf(actions.CodeBadRequest, "id is longer than %d bytes", maxID)
		}
		r.ID, r.RawID = string(text), id
	} else if echo != nil {
		r.RawEcho = echo
	}
	if action == nil {
		return actions.Errorf(actions.CodeBadRequest, "action is missing")
	}
	if !action.isString() {
		return actions.Errorf(actions.CodeBadRequest, "action is not a string")
	}
	if len(action) > 6*maxAction+2 {
		// Unknown however it is spelt: what is kept is for the record.
		r.Action = strings.ToValidUTF8(string(action[1:1+maxAction]), "")
		return nil
	}
	name, _ := action.text()
	r.Action, r.Async = strings.CutSuffix(string(name), asyncSuffix)
	return nil
}

// scanParams scans the params object and remembers the fields that mean
// something to some action; of duplicates the last.
func (r *Request) scanParams(s *scanner) bool {
	return s.object(1, func(key []byte) bool {
		f, known := fieldOf(plainKey(key))
		if known && f == fieldData {
			return r.scanData(s)
		}
		from := s.i
		if !s.value(2) {
			return false
		}
		if known {
			r.fields[f] = literal(s.b[from:s.i]).orAbsent()
		}
		return true
	})
}

// scanData scans data, and decodes it in the same pass if it begins like the
// byte string of a chunk: with a character beyond ASCII, which also means that
// nobody will want it as base64.
func (r *Request) scanData(s *scanner) bool {
	const look = 64
	r.fields[fieldData], r.units, r.decoded = nil, nil, false
	from := s.i
	if s.peek() == '"' {
		for _, c := range s.b[from+1 : min(from+1+look, len(s.b))] {
			if c == '"' {
				break
			}
			if c < 0x80 {
				continue
			}
			r.units, s.i, r.decoded = scanInPlace(s.b, from+1)
			if r.decoded {
				s.i++ // the quote
			}
			return r.decoded
		}
	}
	if !s.value(2) {
		return false
	}
	r.fields[fieldData] = literal(s.b[from:s.i]).orAbsent()
	return true
}

// plainKey decodes a raw key. No key that means anything is long, so a long
// one with escapes is not worth decoding.
func plainKey(key []byte) []byte {
	const longest = 6 * len("permissions")
	if len(key) > longest || bytes.IndexByte(key, '\\') < 0 {
		return key
	}
	quoted := make(literal, 0, longest+2)
	quoted = append(append(append(quoted, '"'), key...), '"')
	text, _ := quoted.text()
	return text
}

func unreadable(msg []byte, at int) error {
	switch {
	case len(bytes.TrimLeft(msg, " \t\r\n")) == 0:
		return actions.Errorf(actions.CodeBadRequest, "empty message")
	case at >= len(msg):
		return actions.Errorf(actions.CodeBadRequest, "message ends too early")
	}
	return actions.Errorf(actions.CodeBadRequest, "not a JSON object in UTF-8, byte %d", at)
}
