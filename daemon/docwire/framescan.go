package docwire

// braceState is where in a text a braceScanner stands.
type braceState uint8

// The order matters: up to inEscape the object has not ended.
const (
	beforeObject braceState = iota // only white space so far
	inObject
	inString
	inEscape    // behind a backslash in a string
	afterObject // just behind the brace that closes it
	noObject    // no brace can end this message
)

// braceScanner finds the brace that closes the object a text begins with. It
// knows strings, escapes and nesting and nothing more of JSON: what is wrong
// with a text is for its decoder to say, here it must only end.
type braceScanner struct {
	state braceState
	depth int
	// odd tells that a control character was met that JSON never holds, most
	// likely padding: the rest of this object is not on its way.
	odd bool
}

// look goes on through text and returns how much of it was looked at: all, or
// as far as the closing brace, or nothing once there is nothing to find.
func (s *braceScanner) look(text []byte) int {
	if s.state >= afterObject {
		return 0
	}
	for i, c := range text {
		if c < ' ' && (s.state > inObject || !isJSONSpace(c)) {
			s.odd = true
		}
		switch s.state {
		case beforeObject:
			if c == '{' {
				s.state, s.depth = inObject, 1
			} else if !isJSONSpace(c) {
				s.state = noObject
				return i
			}
		case inObject:
			switch c {
			case '"':
				s.state = inString
			case '{':
				s.depth++
			case '}':
				if s.depth--; s.depth == 0 {
					s.state = afterObject
					return i + 1
				}
			}
		case inString:
			switch c {
			case '"':
				s.state = inObject
			case '\\':
				s.state = inEscape
			}
		case inEscape:
			s.state = inString
		}
	}
	return len(text)
}

// more tells whether the text so far is one that only more bytes can make whole:
// the beginning of an object, or an object without any of its padding.
func (s *braceScanner) more() bool {
	return s.state <= inEscape && !s.odd || s.state == afterObject
}

func isJSONSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
