package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
	"time"
	"unicode/utf8"
)

// Entry is a record as read. The byte slices are parts of the line and valid
// as long as it is.
type Entry struct {
	Seq uint64
	// At is in UTC, in whole microseconds.
	At   time.Time
	Kind string
	// Actor, Via and Ref are decoded texts.
	Actor, Via, Ref []byte
	// Group is zero if the record belongs to no group.
	Group Group
	// Body is a valid JSON object without spaces.
	Body []byte
}

var (
	errLine  = errors.New("not a record: too long")
	errShape = errors.New("not a record: unexpected shape")
	errSeq   = errors.New("not a record: bad seq")
	errTime  = errors.New("not a record: bad time")
	errKind  = errors.New("not a record: bad kind")
	errText  = errors.New("not a record: bad text")
	errGroup = errors.New("not a record: bad grp")
	errBody  = errors.New("not a record: bad body")
)

// ParseEntry reads one line, which has no newline, into e. It accepts exactly
// what AppendRecord writes for a sound record: key order, no spaces, no needless
// escapes, a body that is a JSON object without spaces whose integers are below
// 2^53. It allocates only for a kind it does not know and for texts with
// escapes. After an error e is undefined.
func ParseEntry(line []byte, e *Entry) error {
	if err := scanEntry(line, e); err != nil {
		return err
	}
	if !validBody(e.Body) {
		return errBody
	}
	return nil
}

// scanEntry is ParseEntry but for the look at the body, half of its time: for
// lines whose hash says that they are what ParseEntry has read before.
func scanEntry(line []byte, e *Entry) error {
	if len(line) > MaxLine {
		return errLine
	}
	var ok bool
	p, ok := skip(line, `{"v":1,"seq":`)
	if !ok {
		return errShape
	}
	if e.Seq, p, ok = scanUint(p); !ok {
		return errSeq
	}
	if p, ok = skip(p, `,"at":"`); !ok {
		return errShape
	}
	if len(p) < timeLen {
		return errTime
	}
	if e.At, ok = parseTime(p[:timeLen]); !ok {
		return errTime
	}
	if p, ok = skip(p[timeLen:], `","kind":"`); !ok {
		return errShape
	}
	n := kindLen(p)
	if n == 0 {
		return errKind
	}
	if e.Kind != string(p[:n]) {
		e.Kind = internKind(p[:n])
	}
	if p, ok = skip(p[n:], `","actor":"`); !ok {
		return errShape
	}
	if e.Actor, p, ok = scanText(p); !ok {
		return errText
	}
	if p, ok = skip(p, `,"via":"`); !ok {
		return errShape
	}
	if e.Via, p, ok = scanText(p); !ok {
		return errText
	}
	if p, ok = skip(p, `,"ref":"`); !ok {
		return errShape
	}
	if e.Ref, p, ok = scanText(p); !ok {
		return errText
	}
	e.Group = Group{}
	if rest, grouped := skip(p, `,"grp":[`); grouped {
		if e.Group, p, ok = scanGroup(rest); !ok {
			return errGroup
		}
	}
	if p, ok = skip(p, `,"body":`); !ok {
		return errShape
	}
	if len(p) < len(`{}}`) || p[len(p)-1] != '}' {
		return errShape
	}
	e.Body = p[:len(p)-1]
	return nil
}

func skip(p []byte, lit string) ([]byte, bool) {
	if len(p) < len(lit) || string(p[:len(lit)]) != lit {
		return p, false
	}
	return p[len(lit):], true
}

// scanUint reads an integer below 2^53 without leading zeros.
func scanUint(p []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for i < len(p) && i < 17 && p[i]-'0' <= 9 {
		n = n*10 + uint64(p[i]-'0')
		i++
	}
	if i == 0 || p[0] == '0' && i > 1 || n >= maxSeq {
		return 0, p, false
	}
	return n, p[i:], true
}

func scanGroup(p []byte) (g Group, rest []byte, ok bool) {
	i, p, ok1 := scanUint(p)
	p, ok2 := skip(p, ",")
	n, p, ok3 := scanUint(p)
	p, ok4 := skip(p, "]")
	if !ok1 || !ok2 || !ok3 || !ok4 || i < 1 || i > n || n > MaxGroup {
		return Group{}, p, false
	}
	return Group{I: int(i), N: int(n)}, p, true
}

const timeLen = len("2006-01-02T15:04:05.000000Z")

// parseTime reads exactly what appendTime writes.
func parseTime(p []byte) (time.Time, bool) {
	_ = p[timeLen-1]
	if p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':' || p[19] != '.' || p[26] != 'Z' {
		return time.Time{}, false
	}
	bad := uint(0)
	two := func(i int) int {
		a, b := uint(p[i]-'0'), uint(p[i+1]-'0')
		bad |= (9 - a) | (9 - b) // the top bit is set by what is no digit
		return int(a*10 + b)
	}
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, sec := two(11), two(14), two(17)
	micro := two(20)*10000 + two(22)*100 + two(24)
	if bad>>(bits.UintSize-1) != 0 || month < 1 || month > 12 || day < 1 || day > daysIn(month, year) ||
		hour > 23 || minute > 59 || sec > 59 {
		return time.Time{}, false
	}
	unix := daysBefore(year, month)*86400 + int64(day-1)*86400 + int64(hour*3600+minute*60+sec)
	return time.Unix(unix, int64(micro)*1000).UTC(), true
}

func daysIn(month, year int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysBefore counts the days from 1970-01-01 to the first of a month. The
// year is taken to begin in March, so that the leap day is its last.
func daysBefore(year, month int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	y := year + 400 // never negative: year 0 is the smallest
	return int64(y*365+y/4-y/100+y/400+(153*(month-3)+2)/5) - (400*365 + 97) - 719468
}

// kindLen gives the length of the kind at the start of p, 0 if it is none.
func kindLen(p []byte) int {
	word := false // the byte before belongs to a word
	for i, c := range p {
		switch {
		case c >= 'a' && c <= 'z', c == '_', word && c >= '0' && c <= '9':
			word = true
		case c == '.' && word:
			word = false
		case c == '"' && word && i <= maxKind:
			return i
		default:
			return 0
		}
	}
	return 0
}

// scanText reads a string whose opening quote has been read.
func scanText(p []byte) (text, rest []byte, ok bool) {
	i, high := plain(p, 0)
	if i >= len(p) {
		return nil, p, false
	}
	if p[i] == '"' {
		if high && !utf8.Valid(p[:i]) {
			return nil, p, false
		}
		return p[:i], p[i+1:], true
	}
	if p[i] != '\\' {
		return nil, p, false
	}
	return scanEscaped(p)
}

// scanEscaped is scanText for a string with a backslash in it.
func scanEscaped(p []byte) (text, rest []byte, ok bool) {
	end := 0
	for end < len(p) && p[end] != '"' {
		if p[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(p) {
		return nil, p, false
	}
	quoted := append(append([]byte{'"'}, p[:end]...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil, p, false
	}
	// One text has one spelling: otherwise a line could be changed without
	// changing what it says.
	if string(appendString(nil, s)) != string(quoted) {
		return nil, p, false
	}
	return []byte(s), p[end+1:], true
}

// plain gives the index of the first quote, backslash or control character in
// p from i on, len(p) if there is none, and whether a byte outside of ASCII
// stands before it. It looks at eight bytes at a time.
func plain(p []byte, i int) (end int, high bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	seen := uint64(0)
	for ; i+8 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		quote, slash := x^('"'*ones), x^('\\'*ones)
		// The lowest bit that is set here is right; higher ones may not be.
		hit := ((x - ' '*ones) &^ x) | ((quote - ones) &^ quote) | ((slash - ones) &^ slash)
		if hit &= tops; hit != 0 {
			at := bits.TrailingZeros64(hit)
			seen |= x & (1<<(at-7) - 1)
			return i + at/8, seen&tops != 0
		}
		seen |= x
	}
	for ; i < len(p); i++ {
		c := p[i]
		if c < ' ' || c == '"' || c == '\\' {
			break
		}
		seen |= uint64(c)
	}
	return i, seen&tops != 0
}
