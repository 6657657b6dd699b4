package panelwire

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waybill/actions"
	"waybill/sessions"
)

// errReply is wrapped by what ParseReply and Content return.
var errReply = errors.New("unreadable reply")

// AppendRequest appends a request in the id envelope. params is anything
// encoding/json encodes to an object; nil leaves it out. It panics on what
// cannot be encoded.
func AppendRequest(dst []byte, id, action string, params any) []byte {
	dst = append(dst, `{"action":`...)
	dst = appendString(dst, action)
	if params != nil {
		raw, err := json.Marshal(params)
		if err != nil {
			panic(fmt.Sprintf("panelwire: params of %s: %v", action, err)) // the caller's own types
		}
		dst = append(append(dst, `,"params":`...), raw...)
	}
	dst = append(dst, `,"id":`...)
	dst = appendString(dst, id)
	return append(dst, '}')
}

// AppendChunkRequest appends a file_upload_chunk in the id envelope, data as a
// byte string, for a text frame.
func AppendChunkRequest(dst []byte, id string, file sessions.ID, offset int64, data []byte) []byte {
	dst = append(dst, `{"action":"file_upload_chunk","id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"params":{"file_id":"`...)
	dst = file.Append(dst)
	dst = appendInt(dst, `","offset":`, offset)
	dst = append(dst, `,"data":`...)
	dst = AppendByteString(dst, data)
	return append(dst, '}', '}')
}

// AppendPacket appends a request packet, a binary frame: the request as of
// AppendRequest with attachment, which is a file_upload_chunk's data.
func AppendPacket(dst []byte, id, action string, params any, attachment []byte) []byte {
	request := AppendRequest(nil, id, action, params)
	dst = slices.Grow(dst, len(packetMagic)+2*binary.MaxVarintLen64+len(request)+len(attachment))
	dst = append(dst, packetMagic...)
	dst = binary.AppendUvarint(dst, uint64(len(request)))
	dst = binary.AppendUvarint(dst, uint64(len(attachment)))
	return append(append(dst, request...), attachment...)
}

// AppendUploadFrame appends an upload frame, a binary frame: a chunk without
// an envelope.
func AppendUploadFrame(dst []byte, file sessions.ID, offset int64, data []byte) []byte {
	id, sum := guid(file), sha1.Sum(data)
	dst = slices.Grow(dst, frameHeader+len(data))
	dst = append(dst, id[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(offset))
	dst = append(dst, sum[:]...)
	return append(dst, data...)
}

// Reply is a reply in either envelope.
type Reply struct {
	// ID is the decoded id; HasID is false for a reply to an echo request.
	ID    string
	HasID bool
	// Echo is the raw echo, nil if absent.
	Echo []byte
	// Status is "ok", "error", "async" or "unauthorized".
	Status  string
	Retcode int
	Message string
	// Data is the raw data object, nil if null or absent. It aliases the
	// message.
	Data []byte
}

// Err returns nil for a success and else an *actions.Error whose Detail is the
// reply's message without the name of its code.
func (r *Reply) Err() error {
	switch r.Status {
	case "ok", "async":
		return nil
	case "unauthorized":
		return &actions.Error{Code: actions.CodeUnauthorized, Detail: r.Message}
	}
	code := codeOf(r.Retcode)
	if code == actions.CodeOK { // an error without a number
		code = actions.CodeRequest
	}
	detail := strings.TrimPrefix(r.Message, codes[code].name)
	return &actions.Error{Code: code, Detail: strings.TrimPrefix(detail, ": ")}
}

// ParseReply reads a reply, which aliases msg.
func ParseReply(msg []byte) (Reply, error) {
	raw, ok := members(msg, "id", "echo", "status", "retcode", "message", "data")
	if !ok || raw[2] == nil || !raw[2].isString() {
		return Reply{}, fmt.Errorf("%w: %.100q", errReply, msg)
	}
	r := Reply{Echo: raw[1], Data: raw[5], Status: raw[2].string(), Message: raw[4].string()}
	r.HasID = raw[0] != nil && raw[0].isString()
	r.ID = raw[0].string()
	if code, err := strconv.Atoi(string(raw[3])); err == nil {
		r.Retcode = code
	}
	return r, nil
}

// Content returns the bytes of a download chunk's data. They are decoded over
// Data, which is spent. A byte string is always of even length, so the last
// byte may be padding: n, the length asked for, tells.
func (r *Reply) Content(n int, isBase64 bool) ([]byte, error) {
	raw, ok := members(r.Data, "content")
	if !ok || raw[0] == nil || !raw[0].isString() {
		return nil, fmt.Errorf("%w: no content", errReply)
	}
	r.Data = nil
	if isBase64 {
		b, ok := decodeBase64(raw[0])
		if !ok || len(b) != n {
			return nil, fmt.Errorf("%w: content is not base64 of %d bytes", errReply, n)
		}
		return b, nil
	}
	b := decodeInPlace(raw[0].inside())
	if len(b) != n+n%2 {
		return nil, fmt.Errorf("%w: content is not %d bytes", errReply, n)
	}
	return b[:n], nil
}

// members cuts the named members out of an object; of duplicates the last.
func members(msg []byte, names ...string) ([]literal, bool) {
	raw := make([]literal, len(names))
	s := scanner{b: msg}
	ok := s.text(func() bool {
		return s.object(0, func(key []byte) bool {
			from, name := s.i, plainKey(key)
			if !s.value(1) {
				return false
			}
			for i := range names {
				if names[i] == string(name) {
					raw[i] = literal(msg[from:s.i]).orAbsent()
				}
			}
			return true
		})
	})
	return raw, ok
}
