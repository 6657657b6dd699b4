package sessions

import (
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"
)

// Bodies that a replay meets often are read by hand if they are in exactly the
// form we write: a scan takes only what encoding/json reads the same. All else,
// other spellings of the same included, is left to encoding/json.

func decodeUploadOpened(body []byte, into *uploadOpened) error {
	if scanUploadOpened(body, into) {
		return nil
	}
	var slow uploadOpened // apart: into need not be on the heap
	err := json.Unmarshal(body, &slow)
	*into = slow
	return err
}

func scanUploadOpened(body []byte, into *uploadOpened) bool {
	s := scanner{rest: body}
	s.session(&into.Session)
	s.lit(`,"path":"`)
	into.Path = string(s.text())
	if s.has(`,"size":`) {
		into.Size = new(s.number())
	}
	s.optText(`,"sha1":"`, &into.SHA1)
	if s.has(`,"idle_ms":`) {
		into.IdleMS = s.number()
	}
	into.Until, into.Task = s.untilTask()
	return s.end()
}

func decodeDownloadOpened(body []byte, into *downloadOpened) error {
	if scanDownloadOpened(body, into) {
		return nil
	}
	var slow downloadOpened // apart: into need not be on the heap
	err := json.Unmarshal(body, &slow)
	*into = slow
	return err
}

func scanDownloadOpened(body []byte, into *downloadOpened) bool {
	s := scanner{rest: body}
	s.session(&into.Session)
	s.lit(`,"path":"`)
	into.Path = string(s.text())
	if s.has(`,"identity":{"dev":"`) {
		f := new(Identity)
		f.Dev = s.digits(19)
		s.lit(`","ino":"`)
		f.Ino = s.digits(19)
		s.lit(`","size":`)
		f.Size = s.number()
		s.lit(`,"mtime_ns":"`)
		f.MtimeNS = s.int64()
		s.lit(`","ctime_ns":"`)
		f.CtimeNS = s.int64()
		s.lit(`"}`)
		into.Identity = f
	}
	s.optText(`,"sha1":"`, &into.SHA1)
	if s.has(`,"idle_ms":`) {
		into.IdleMS = s.number()
	}
	into.Until, into.Task = s.untilTask()
	if s.has(`,"content":{"sha256":"`) {
		c := &Content{SHA256: string(s.text())}
		s.lit(`,"size":`)
		c.Size = s.number()
		s.lit(`}`)
		into.Content = c
	}
	return s.end()
}

// uploadChange is what the facts between opening and ending say, and those that
// end: each of them a part of it.
type uploadChange struct {
	Session       ID
	Size          int64
	Digest        string
	Code, Message string
}

func decodeUploadChange(kind string, body []byte, into *uploadChange) error {
	if scanUploadChange(kind, body, into) {
		return nil
	}
	var slow uploadChange // apart: into need not be on the heap
	err := json.Unmarshal(body, &slow)
	*into = slow
	return err
}

func scanUploadChange(kind string, body []byte, into *uploadChange) bool {
	s := scanner{rest: body}
	s.session(&into.Session)
	switch kind {
	case KindUploadSized, KindUploadTruncated:
		s.lit(`,"size":`)
		into.Size = s.number()
	case KindUploadSealed:
		s.lit(`,"size":`)
		into.Size = s.number()
		s.lit(`,"digest":"`)
		into.Digest = string(s.text())
	case KindUploadPlaced:
		s.lit(`,"path":"`)
		s.text()
	case KindUploadPublished:
		s.lit(`,"revision":"`)
		s.text()
	case KindUploadCancelled, KindUploadExpired:
	default:
		return false
	}
	return s.end()
}

func decodeSession(body []byte) (ID, error) {
	if id, ok := scanSession(body); ok {
		return id, nil
	}
	var b sessionOnly
	err := json.Unmarshal(body, &b)
	return b.Session, err
}

func scanSession(body []byte) (id ID, ok bool) {
	s := scanner{rest: body}
	s.session(&id)
	return id, s.end()
}

// scanner reads a body from its beginning. After the first thing that is not as
// expected it is bad, and what it gives means nothing.
type scanner struct {
	rest []byte
	bad  bool
}

// end says whether all was as expected, and nothing but the end is left.
func (s *scanner) end() bool { return !s.bad && string(s.rest) == "}" }

// has reads lit if it comes next.
func (s *scanner) has(lit string) bool {
	if len(s.rest) < len(lit) || string(s.rest[:len(lit)]) != lit {
		return false
	}
	s.rest = s.rest[len(lit):]
	return true
}

func (s *scanner) lit(lit string) {
	if !s.has(lit) {
		s.bad = true
	}
}

// session reads what every body begins with.
func (s *scanner) session(into *ID) {
	s.lit(`{"session":"`)
	if s.bad || len(s.rest) <= 36 || s.rest[36] != '"' {
		s.bad = true
		return
	}
	id, err := ParseID(s.rest[:36])
	if err != nil {
		s.bad = true
	}
	*into, s.rest = id, s.rest[37:]
}

// text reads a string without escapes whose opening quote has been read, and
// its closing quote. It is a part of the body.
func (s *scanner) text() []byte {
	high := byte(0)
	for i, c := range s.rest {
		if c == '"' {
			t := s.rest[:i]
			s.rest = s.rest[i+1:]
			if high >= utf8.RuneSelf && !utf8.Valid(t) {
				s.bad = true // encoding/json has it another way
			}
			return t
		}
		if c < ' ' || c == '\\' {
			break
		}
		high |= c
	}
	s.bad = true
	return nil
}

// optText reads a string after lit, if lit comes next.
func (s *scanner) optText(lit string, into *string) {
	if s.has(lit) {
		*into = string(s.text())
	}
}

// number reads an integer from 0 on, of at most 16 digits: all integers in the
// journal are below 2^53.
func (s *scanner) number() int64 { return int64(s.digits(16)) }

// int64 reads an integer from 0 on.
func (s *scanner) int64() int64 {
	n := s.digits(19)
	if n > math.MaxInt64 {
		s.bad = true
	}
	return int64(n)
}

// digits reads a decimal of at most limit digits, without leading zeros, as in
// all JSON. 19 of them fit.
func (s *scanner) digits(limit int) (n uint64) {
	i := 0
	for i < len(s.rest) && i < limit && s.rest[i]-'0' <= 9 {
		n = n*10 + uint64(s.rest[i]-'0')
		i++
	}
	if i == 0 || i > 1 && s.rest[0] == '0' {
		s.bad = true
	}
	s.rest = s.rest[i:]
	return n
}

// untilTask reads what the sessions have that are tasks.
func (s *scanner) untilTask() (*time.Time, *Task) {
	var (
		until *time.Time
		task  *Task
	)
	if s.has(`,"until":`) {
		quoted := s.rest
		s.lit(`"`)
		t := s.text()
		until = new(time.Time)
		if s.bad || until.UnmarshalJSON(quoted[:len(t)+2]) != nil {
			s.bad = true
		}
	}
	if s.has(`,"task":{"id":"`) {
		task = &Task{ID: string(s.text())}
		s.lit(`,"token_sha256":"`)
		task.Token = string(s.text())
		if s.has(`,"node":`) {
			task.Node = s.digits(16)
		}
		s.optText(`,"revision":"`, &task.Revision)
		s.lit(`}`)
	}
	return until, task
}
