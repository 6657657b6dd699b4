package journal

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Group says that a record is number I of the N consecutive records of one
// decision; I counts from 1. The zero value: the record stands alone.
type Group struct{ I, N int }

// Record is a record to be written.
type Record struct {
	// Seq is the position in the journal, counted from 0.
	Seq uint64
	// At is the time of the record. It is written in UTC, cut to
	// microseconds, and never earlier than that of the record before.
	At time.Time
	// Kind names the fact, in the past tense: lower-case words of letters,
	// digits and '_', parted by dots, at most 64 bytes.
	Kind string
	// Actor, Via and Ref say who, from where, and for which request.
	Actor, Via, Ref string
	// Group is the place within a group of records.
	Group Group
	// Body is a JSON object without spaces, its integers below 2^53. It is
	// written as it is.
	Body []byte
}

// AppendRecord appends the line of r, without a newline, to dst. Bytes of the
// texts that are not valid UTF-8 become U+FFFD. It checks nothing else: Append
// refuses a line that ParseEntry would not read.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, `{"v":1,"seq":`...)
	dst = strconv.AppendUint(dst, r.Seq, 10)
	dst = append(dst, `,"at":"`...)
	dst = appendTime(dst, r.At)
	dst = append(dst, `","kind":`...)
	dst = appendString(dst, r.Kind)
	dst = append(dst, `,"actor":`...)
	dst = appendString(dst, r.Actor)
	dst = append(dst, `,"via":`...)
	dst = appendString(dst, r.Via)
	dst = append(dst, `,"ref":`...)
	dst = appendString(dst, r.Ref)
	if r.Group != (Group{}) {
		dst = append(dst, `,"grp":[`...)
		dst = strconv.AppendInt(dst, int64(r.Group.I), 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, int64(r.Group.N), 10)
		dst = append(dst, ']')
	}
	dst = append(dst, `,"body":`...)
	dst = append(dst, r.Body...)
	return append(dst, '}')
}

// appendTime writes RFC 3339 in UTC with exactly six digits of a second. A
// year outside of 0 to 9999 comes out longer and is refused by ParseEntry.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	}
	dst = append2(dst, year/100)
	dst = append2(dst, year%100)
	dst = append2(append(dst, '-'), int(month))
	dst = append2(append(dst, '-'), day)
	dst = append2(append(dst, 'T'), hour)
	dst = append2(append(dst, ':'), minute)
	dst = append2(append(dst, ':'), sec)
	micro := t.Nanosecond() / 1000
	dst = append2(append(dst, '.'), micro/10000)
	dst = append2(dst, micro/100%100)
	dst = append2(dst, micro%100)
	return append(dst, 'Z')
}

func append2(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// appendString writes s as a JSON string. Only what must be escaped is: quote,
// backslash, control characters.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[from:i]...)
				dst = append(dst, "\uFFFD"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
