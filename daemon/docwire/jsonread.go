package docwire

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"strconv"
	"unicode/utf8"
)

// literal is the raw text of one value of a message that is valid JSON, without
// space around it; nil if absent.
//
// Messages are cut by hand, not decoded into structs: encoding/json would take
// keys in any case.
type literal []byte

// readObject checks that msg is one JSON object in UTF-8, nested no deeper than
// maxDepth.
func readObject(msg []byte) (literal, bool) {
	if !utf8.Valid(msg) || nestedBeyond(msg, maxDepth) || !json.Valid(msg) {
		return nil, false
	}
	object := literal(bytes.Trim(msg, " \t\r\n"))
	if !object.isObject() {
		return nil, false
	}
	return mended(object), true
}

// nestedBeyond tells whether arrays and objects nest deeper than limit. Of what
// is no JSON it may say anything.
func nestedBeyond(text []byte, limit int) bool {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = stringEnd(text, i) - 1
		case '{', '[':
			if depth++; depth > limit {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// mended gives the text with every unpaired surrogate made U+FFFD (CFMS.md §2),
// which is as long. Texts are decoded so anyway; but raw values go on into the
// journal, whose other readers may not be as kind.
func mended(text literal) literal {
	if !bytes.Contains(text, []byte(`\u`)) {
		return text
	}
	text = bytes.Clone(text)
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // to what is escaped
		switch half := surrogate(text[i-1:]); {
		case half == 'h' && surrogate(text[i+5:]) == 'l':
			i += 10
		case half != 0:
			copy(text[i:], "ufffd")
		}
	}
	return text
}

// surrogate tells which half of a pair an escape at the beginning of text is:
// 'h' for the high one, which comes first, 'l' for the low one, 0 for none.
func surrogate(text []byte) byte {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' || text[2]|0x20 != 'd' {
		return 0
	}
	switch c := text[3] | 0x20; {
	case text[3] == '8' || text[3] == '9' || c == 'a' || c == 'b':
		return 'h'
	case c >= 'c' && c <= 'f':
		return 'l'
	}
	return 0
}

// stringEnd gives where the string that begins at i ends: just after its
// closing quote, or len(text).
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// valueEnd gives where the value that begins at i ends.
func valueEnd(text []byte, i int) int {
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
		for depth := 0; i < len(text); i++ {
			switch text[i] {
			case '"':
				i = stringEnd(text, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return i
	}
	for i < len(text) && text[i] != ',' && text[i] != '}' && text[i] != ']' && !isJSONSpace(text[i]) {
		i++
	}
	return i
}

func spaceEnd(text []byte, i int) int {
	for i < len(text) && isJSONSpace(text[i]) {
		i++
	}
	return i
}

// members gives the members of an object in the order sent, keys decoded and
// null as nil: it means absent everywhere. Keys are bytes, since few of them
// need memory of their own then: who knows how many there are.
func (l literal) members() iter.Seq2[[]byte, literal] {
	return func(yield func([]byte, literal) bool) {
		for i := spaceEnd(l, 1); i < len(l) && l[i] == '"'; i = spaceEnd(l, i) {
			end := stringEnd(l, i)
			key := []byte(l[i+1 : end-1])
			if bytes.IndexByte(key, '\\') >= 0 {
				text, _ := l[i:end].text()
				key = []byte(text)
			}
			i = spaceEnd(l, spaceEnd(l, end)+1) // over the colon
			end = valueEnd(l, i)
			value := l[i:end:end]
			if value[0] == 'n' {
				value = nil
			}
			if !yield(key, value) {
				return
			}
			if i = spaceEnd(l, end); i < len(l) && l[i] == ',' {
				i++
			}
		}
	}
}

func (l literal) isObject() bool { return len(l) > 0 && l[0] == '{' }

// text decodes a string.
func (l literal) text() (s string, ok bool) {
	if len(l) == 0 || l[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(l, '\\') < 0 {
		return string(l[1 : len(l)-1]), true
	}
	return s, json.Unmarshal(l, &s) == nil
}

// number decodes a number as everybody else does who reads JSON: to the nearest
// float64, ±Inf beyond.
func (l literal) number() (f float64, ok bool) {
	if len(l) == 0 || l[0] != '-' && (l[0] < '0' || l[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(l), 64)
	return f, err == nil || math.IsInf(f, 0)
}

// flag decodes true, false, 0 and 1 (CFMS.md §2).
func (l literal) flag() (is, ok bool) {
	switch string(l) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	f, ok := l.number()
	return f == 1, ok && (f == 0 || f == 1)
}

// raw gives a copy of the value as it stands.
func (l literal) raw() json.RawMessage { return json.RawMessage(bytes.Clone(l)) }
