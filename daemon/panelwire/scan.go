package panelwire

// maxDepth bounds how deep arrays and objects may nest in a message.
const maxDepth = 64

// scanner checks one JSON text in a single pass: RFC 8259 to the letter, valid
// UTF-8, at most maxDepth deep. It decodes nothing; callers cut out the raw
// values they want by the positions before and after value.
type scanner struct {
	b []byte
	i int // the next byte to look at; where it went wrong after a false
}

// text scans b as a whole: one value, checked by first, and nothing after it.
func (s *scanner) text(first func() bool) bool {
	s.space()
	if !first() {
		return false
	}
	s.space()
	return s.i == len(s.b)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end: no JSON token begins with it.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// value scans any value inside depth containers.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '{':
		return s.object(depth, func([]byte) bool { return s.value(depth + 1) })
	case '[':
		return s.array(depth)
	case '"':
		return s.str()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// object scans an object and calls member for every key in order, raw and
// without its quotes, when the scanner stands at the value; member scans it.
func (s *scanner) object(depth int, member func(key []byte) bool) bool {
	if depth == maxDepth || s.peek() != '{' {
		return false
	}
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		return true
	}
	for {
		from := s.i + 1
		if s.peek() != '"' || !s.str() {
			return false
		}
		key := s.b[from : s.i-1]
		s.space()
		if s.peek() != ':' {
			return false
		}
		s.i++
		s.space()
		if !member(key) {
			return false
		}
		if more, ok := s.next('}'); !more {
			return ok
		}
		s.space()
	}
}

func (s *scanner) array(depth int) bool {
	if depth == maxDepth {
		return false
	}
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		return true
	}
	for {
		if !s.value(depth + 1) {
			return false
		}
		if more, ok := s.next(']'); !more {
			return ok
		}
		s.space()
	}
}

// next scans what follows a member: a comma, or the end of its container.
func (s *scanner) next(end byte) (more, ok bool) {
	s.space()
	switch s.peek() {
	case ',':
		s.i++
		return true, true
	case end:
		s.i++
		return false, true
	}
	return false, false
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.i++
	}
	return s.i > from
}

// str scans a string; the scanner stands at its opening quote.
func (s *scanner) str() bool {
	end, ok := stringEnd(s.b, s.i+1)
	s.i = end
	if ok {
		s.i++
	}
	return ok
}
