package actions

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// imageScan reads JSON as writeImage writes it: no spaces, no null, every key
// once. With many documents that is most of a start, and takes a fifth of what
// encoding/json takes. Whatever looks otherwise makes it bad, and
// then encoding/json has the word.
type imageScan struct {
	b   []byte // what is left
	bad bool
	// owner is the last owner read: mostly it is the next one, too.
	owner string
}

func (r *imageScan) fail() { r.bad, r.b = true, nil }

// next takes c if it comes next.
func (r *imageScan) next(c byte) bool {
	if len(r.b) == 0 || r.b[0] != c {
		return false
	}
	r.b = r.b[1:]
	return true
}

func (r *imageScan) want(c byte) {
	if !r.next(c) {
		r.fail()
	}
}

// token takes a string that needs no decoding, without its quotes; plain is
// false, and nothing is taken, if it does.
func (r *imageScan) token() (s []byte, plain bool) {
	if len(r.b) == 0 || r.b[0] != '"' {
		r.fail()
		return nil, true
	}
	end := bytes.IndexByte(r.b[1:], '"')
	if end < 0 {
		r.fail()
		return nil, true
	}
	s = r.b[1 : 1+end]
	ascii := true
	for _, c := range s {
		if c < ' ' || c == '\\' {
			return nil, false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid(s) {
		return nil, false
	}
	r.b = r.b[end+2:]
	return s, true
}

func (r *imageScan) text() (s string) {
	b, plain := r.token()
	if plain {
		return string(b)
	}
	r.unmarshal(&s)
	return s
}

// key takes a name and the colon after it. Ours need no decoding.
func (r *imageScan) key() []byte {
	b, plain := r.token()
	if !plain {
		r.fail()
	}
	r.want(':')
	return b
}

// value takes a value of any shape; it is checked by who decodes it.
func (r *imageScan) value() json.RawMessage {
	depth, quoted := 0, false
	for i := 0; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
			continue
		case c == '}', c == ']':
			depth--
		}
		end := i + 1
		if depth < 0 || depth == 0 && !quoted && r.b[i] == ',' {
			end = i
		} else if depth > 0 || quoted || end < len(r.b) && r.b[end] != ',' && r.b[end] != '}' && r.b[end] != ']' {
			continue
		}
		v := r.b[:end]
		r.b = r.b[end:]
		return v
	}
	r.fail()
	return nil
}

// unmarshal takes a value into v with encoding/json.
func (r *imageScan) unmarshal(v any) {
	raw := r.value()
	if r.bad {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if dec.Decode(v) != nil || dec.InputOffset() != int64(len(raw)) || bytes.Equal(raw, []byte("null")) {
		r.fail()
	}
}

// raw takes a document that is kept as it is.
func (r *imageScan) raw() json.RawMessage {
	v := bytes.Clone(r.value())
	if !json.Valid(v) || string(v) == "null" {
		r.fail()
	}
	return v
}

func (r *imageScan) digits() []byte {
	n := 0
	for n < len(r.b) && (r.b[n] == '-' || r.b[n]-'0' <= 9) {
		n++
	}
	d := r.b[:n]
	if n == 0 || d[0] == '0' && n > 1 || d[0] == '-' && (n == 1 || d[1] == '0') {
		r.fail()
		return nil
	}
	r.b = r.b[n:]
	return d
}

func (r *imageScan) int64() int64 {
	n, err := strconv.ParseInt(string(r.digits()), 10, 64)
	if err != nil {
		r.fail()
	}
	return n
}

func (r *imageScan) uint64() uint64 {
	n, err := strconv.ParseUint(string(r.digits()), 10, 64)
	if err != nil {
		r.fail()
	}
	return n
}

func (r *imageScan) flag() bool {
	rest, is := bytes.CutPrefix(r.b, []byte("true"))
	if !is {
		var ok bool
		if rest, ok = bytes.CutPrefix(r.b, []byte("false")); !ok {
			r.fail()
			return false
		}
	}
	r.b = rest
	return is
}

func (r *imageScan) time() (t time.Time) {
	b, plain := r.token()
	if !plain || t.UnmarshalText(b) != nil {
		r.fail()
	}
	return t
}

// name takes an owner's, which is often the one before.
func (r *imageScan) name() string {
	b, plain := r.token()
	if !plain {
		r.unmarshal(&r.owner)
	} else if string(b) != r.owner {
		r.owner = string(b)
	}
	return r.owner
}

// scanObject takes an object, each of its fields with field, which fails for
// one that it does not know.
func scanObject[T any](r *imageScan, v *T, field func(r *imageScan, v *T, name []byte)) {
	r.want('{')
	if r.next('}') {
		return
	}
	for !r.bad {
		field(r, v, r.key())
		if r.next(',') {
			continue
		}
		r.want('}')
		return
	}
}

// scanList takes a list into an empty one.
func scanList[T any](r *imageScan, list *[]T, one func(r *imageScan, v *T)) {
	if *list != nil {
		r.fail() // the key stands there twice
	}
	r.want('[')
	*list = []T{}
	if r.next(']') {
		return
	}
	for !r.bad {
		*list = append(*list, *new(T))
		one(r, &(*list)[len(*list)-1])
		if r.next(',') {
			continue
		}
		r.want(']')
		return
	}
}

// scanNew takes an object that was not there before.
func scanNew[T any](r *imageScan, v **T, field func(r *imageScan, v *T, name []byte)) {
	if *v != nil {
		r.fail()
	}
	*v = new(T)
	scanObject(r, *v, field)
}
