package panelwire

import (
	"bytes"
	"time"

	"github.com/emmansun/base64"

	"waybill/actions"
	"waybill/sessions"
)

// field is a parameter that some action has.
type field int

const (
	fieldPath field = iota
	fieldSHA1
	fieldTimeout
	fieldSize
	fieldFileID
	fieldOffset
	fieldData
	fieldEncoding
	fieldRange
	fieldJob
	fieldToken
	fieldURL
	fieldCount
)

func (f field) String() string {
	return [fieldCount]string{
		"path", "sha1", "timeout", "size", "file_id", "offset", "data", "encoding", "range", "job", "token",
		"url",
	}[f]
}

func fieldOf(key []byte) (field, bool) {
	switch string(key) {
	case "path":
		return fieldPath, true
	case "sha1":
		return fieldSHA1, true
	case "timeout":
		return fieldTimeout, true
	case "size":
		return fieldSize, true
	case "file_id":
		return fieldFileID, true
	case "offset":
		return fieldOffset, true
	case "data":
		return fieldData, true
	case "encoding":
		return fieldEncoding, true
	case "range":
		return fieldRange, true
	case "job":
		return fieldJob, true
	case "token":
		return fieldToken, true
	case "url":
		return fieldURL, true
	}
	return 0, false
}

const (
	// maxText bounds every string parameter but data, as a literal, in bytes.
	maxText = 64 << 10

	defaultTimeout = 2 * time.Minute
	minTimeout     = time.Second
	maxTimeout     = 24 * time.Hour
)

// fields reads the parameters of one request. The first thing wrong is kept
// in err, and everything read after it is zero.
type fields struct {
	r   *Request
	err error
}

func (p *fields) fail(f field, format string, args ...any) {
	if p.err == nil {
		p.err = actions.Errorf(actions.CodeParam, f.String()+" "+format, args...)
	}
}

// text reads an optional string.
func (p *fields) text(f field) (s string, ok bool) {
	l := p.r.fields[f]
	if l == nil || p.err != nil {
		return "", false
	}
	if !l.isString() {
		p.fail(f, "is not a string")
		return "", false
	}
	if len(l) > maxText {
		p.fail(f, "is too long")
		return "", false
	}
	b, whole := l.text()
	if !whole {
		p.fail(f, "is not valid Unicode")
		return "", false
	}
	return string(b), true
}

// need reads a string that must be there.
func (p *fields) need(f field) string {
	s, ok := p.text(f)
	if !ok {
		p.fail(f, "is missing")
	}
	return s
}

// flag reads an optional boolean.
func (p *fields) flag(f field) bool {
	switch l := p.r.fields[f]; {
	case l == nil || p.err != nil || string(l) == "false":
		return false
	case string(l) == "true":
		return true
	}
	p.fail(f, "is not a boolean")
	return false
}

// number reads an optional integer.
func (p *fields) number(f field) (v int64, kind numberKind, ok bool) {
	l := p.r.fields[f]
	if l == nil || p.err != nil {
		return 0, 0, false
	}
	if v, kind = l.integer(); kind == notInteger {
		p.fail(f, "is not an integer")
		return 0, kind, false
	}
	return v, kind, true
}

// id reads a session's or a job's id. What is no UUID cannot have been issued
// by us: a bad parameter rather than an unknown session.
func (p *fields) id(f field) sessions.ID {
	s := p.need(f)
	if p.err != nil {
		return sessions.ID{}
	}
	id, err := sessions.ParseID(s)
	if err != nil {
		p.fail(f, "is not a UUID")
	}
	return id
}

func (p *fields) timeout() time.Duration {
	v, kind, ok := p.number(fieldTimeout)
	if !ok {
		return defaultTimeout
	}
	if kind != integer || v < minTimeout.Milliseconds() || v > maxTimeout.Milliseconds() {
		p.fail(fieldTimeout, "is not from %d to %d ms", minTimeout.Milliseconds(), maxTimeout.Milliseconds())
		return 0
	}
	return time.Duration(v) * time.Millisecond
}

func (p *fields) size() int64 {
	v, kind, ok := p.number(fieldSize)
	switch {
	case !ok:
		p.fail(fieldSize, "is missing")
	case kind == belowInt64 || kind == integer && v <= 0:
		p.fail(fieldSize, "is not positive")
	case kind == beyondInt64 || v > actions.UploadMax:
		if p.err == nil {
			p.err = actions.Errorf(actions.CodeTooBig, "size is over %d bytes", actions.UploadMax)
		}
	default:
		return v
	}
	return 0
}

func (p *fields) offset() int64 {
	v, kind, ok := p.number(fieldOffset)
	switch {
	case !ok:
		p.fail(fieldOffset, "is missing")
	case kind != integer || v < 0:
		p.fail(fieldOffset, "is out of range")
	default:
		return v
	}
	return 0
}

// sha1 reads an optional digest, in lower case; empty is absent.
func (p *fields) sha1() string {
	s, _ := p.text(fieldSHA1)
	if s == "" {
		return ""
	}
	lower := bytes.ToLower([]byte(s))
	for _, c := range lower {
		if unhex[c] > 15 {
			p.fail(fieldSHA1, "is not 40 hex digits")
			return ""
		}
	}
	if len(lower) != 40 {
		p.fail(fieldSHA1, "is not 40 hex digits")
		return ""
	}
	return string(lower)
}

// base64 reads encoding.
func (p *fields) base64() bool {
	s, ok := p.text(fieldEncoding)
	if ok && s != "base64" {
		p.fail(fieldEncoding, `is not "base64"`)
	}
	return ok
}

// span reads "from..to".
func (p *fields) span() (from, to int64) {
	s := p.need(fieldRange)
	if p.err != nil {
		return 0, 0
	}
	from, to, ok := parseRange(s)
	switch {
	case !ok:
		p.fail(fieldRange, "is not from..to in decimal")
	case from > to:
		p.fail(fieldRange, "ends before it begins")
	case to-from > actions.DownloadSpan:
		p.fail(fieldRange, "spans over %d bytes", actions.DownloadSpan)
	default:
		return from, to
	}
	return 0, 0
}

// parseRange reads two decimal numbers with exactly two dots between them.
func parseRange(s string) (from, to int64, ok bool) {
	a, b, found := bytes.Cut([]byte(s), []byte(".."))
	if !found {
		return 0, 0, false
	}
	from, okA := decimal(a)
	to, okB := decimal(b)
	return from, to, okA && okB
}

// data reads a chunk's bytes, decoding them over the message.
func (p *fields) data(isBase64 bool) []byte {
	l := p.r.fields[fieldData]
	switch {
	case p.err != nil:
	case p.r.decoded && isBase64:
		p.fail(fieldData, "is not base64")
	case p.r.decoded:
		return p.r.units
	case l == nil:
		p.fail(fieldData, "is missing")
	case !l.isString():
		p.fail(fieldData, "is not a string")
	case isBase64:
		b, ok := decodeBase64(l)
		if !ok {
			p.fail(fieldData, "is not base64")
		}
		return b
	default:
		return decodeInPlace(l.inside())
	}
	return nil
}

// decodeBase64 decodes RFC 4648 base64, padded, over the literal: the decoder
// reads each group before it writes it, and what it writes is shorter.
func decodeBase64(l literal) ([]byte, bool) {
	text, _ := l.text() // some encoders escape + and /
	if len(text) != len(l.inside()) && bytes.ContainsAny(text, "\r\n") {
		return nil, false // which the decoder would skip; unescaped a string has none
	}
	n, err := base64.StdEncoding.Strict().Decode(text, text)
	if err != nil {
		return nil, false
	}
	return text[:n], true
}
