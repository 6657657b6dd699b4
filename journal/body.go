package journal

import "unicode/utf8"

// validBody says whether b is one JSON object without spaces, in valid UTF-8,
// nested at most maxDepth deep, its integers below 2^53. It is encoding/json's
// Valid for what the daemon writes, at a fifth of the time.
func validBody(b []byte) bool {
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	var (
		objects uint64 // bit per open level: it is an object
		depth   int
		i       int
		high    bool // bytes outside of ASCII were seen
		h, ok   bool
	)
	for i < len(b) {
		// A value starts at i.
		switch c := b[i]; {
		case c == '{':
			if depth == maxDepth {
				return false
			}
			depth++
			objects = objects<<1 | 1
			i++
			if i < len(b) && b[i] == '}' {
				break // closed below
			}
			if i, h, ok = scanKey(b, i); !ok {
				return false
			}
			high = high || h
			continue
		case c == '[':
			if depth == maxDepth {
				return false
			}
			depth++
			objects <<= 1
			i++
			if i < len(b) && b[i] == ']' {
				break
			}
			continue
		case c == '"':
			if i, h, ok = skipString(b, i+1); !ok {
				return false
			}
			high = high || h
		case c == '-' || c-'0' <= 9:
			if i, ok = skipNumber(b, i); !ok {
				return false
			}
		default:
			n := literal(b[i:])
			if n == 0 {
				return false
			}
			i += n
		}
		// A value ended before i: close what ends here, or go to the next.
		for {
			if i >= len(b) {
				return false
			}
			object := objects&1 == 1
			c := b[i]
			i++
			if c == ',' {
				if object {
					if i, h, ok = scanKey(b, i); !ok {
						return false
					}
					high = high || h
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return false
			}
			objects >>= 1
			if depth--; depth == 0 {
				return i == len(b) && (!high || utf8.Valid(b))
			}
		}
	}
	return false
}

// scanKey reads a key and its colon.
func scanKey(b []byte, i int) (end int, high, ok bool) {
	if i >= len(b) || b[i] != '"' {
		return i, false, false
	}
	end, high, ok = skipString(b, i+1)
	if !ok || end >= len(b) || b[end] != ':' {
		return end, false, false
	}
	return end + 1, high, true
}

// skipString gives the index after the closing quote of a string whose opening
// quote stands before i.
func skipString(b []byte, i int) (end int, high, ok bool) {
	for {
		n, h := plain(b, i)
		i, high = n, high || h
		switch {
		case i >= len(b):
			return i, high, false
		case b[i] == '"':
			return i + 1, high, true
		case b[i] != '\\' || i+1 >= len(b):
			return i, high, false
		}
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if i+6 > len(b) || !hex4(b[i+2:i+6]) {
				return i, high, false
			}
			i += 6
		default:
			return i, high, false
		}
	}
}

func hex4(p []byte) bool {
	for _, c := range p {
		if c-'0' > 9 && (c|0x20)-'a' > 5 {
			return false
		}
	}
	return true
}

// skipNumber gives the index after a number. One without fraction and exponent
// must be below 2^53 in size, so that every JSON reader reads the same.
func skipNumber(b []byte, i int) (end int, ok bool) {
	if b[i] == '-' {
		i++
	}
	start, n := i, uint64(0)
	for i < len(b) && b[i]-'0' <= 9 {
		if n < maxSeq {
			n = n*10 + uint64(b[i]-'0')
		}
		i++
	}
	if i == start || b[start] == '0' && i > start+1 {
		return i, false
	}
	integer := true
	if i < len(b) && b[i] == '.' {
		integer = false
		if i, ok = digits(b, i+1); !ok {
			return i, false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		integer = false
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i, ok = digits(b, i); !ok {
			return i, false
		}
	}
	return i, !integer || n < maxSeq
}

func digits(b []byte, i int) (end int, ok bool) {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i, i > start
}

func literal(b []byte) int {
	for _, l := range [...]string{"true", "false", "null"} {
		if len(b) >= len(l) && string(b[:len(l)]) == l {
			return len(l)
		}
	}
	return 0
}
