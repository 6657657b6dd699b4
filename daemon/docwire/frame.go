package docwire

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"time"
	"unicode/utf8"
)

const (
	// StrangerLimit and UserLimit are the longest messages, in bytes as sent,
	// before and after login (CFMS.md §1.2 "Reading").
	StrangerLimit = 64 << 10
	UserLimit     = 1 << 20

	// LongSilence and ShortSilence are how long nothing must have come before
	// what is there counts as a message (CFMS.md §1.2 "Reading"): the former
	// while the rest of it is sure to be missing.
	LongSilence  = 3 * time.Second
	ShortSilence = 300 * time.Millisecond

	// minMessage is an IV and a block of padding.
	minMessage = 2 * aes.BlockSize
	// keptSplitter is the largest empty buffer a Splitter keeps: most
	// connections send one large message and then small ones.
	keptSplitter = 64 << 10
)

var (
	// ErrPartial asks for more bytes, or for Flush once it has been silent for
	// as long as Silence says.
	ErrPartial = errors.New("no whole message yet")
	// ErrUndecryptable is a message that cannot be decrypted or is not UTF-8,
	// one and the same for all that can be wrong with it: it is answered by
	// Unreadable, and the next message can be read.
	ErrUndecryptable = errors.New("undecryptable message")
	// ErrTooLong is a message above the limit. The connection is to be closed.
	ErrTooLong = errors.New("message too long")
)

// Splitter cuts the bytes of one direction of a connection into messages, which
// have neither length nor delimiter (CFMS.md §1.2 "Reading"). How the bytes were
// cut into calls of Feed makes no difference, and the work is linear.
//
// After each Feed call Next until it says ErrPartial; then wait for bytes, no
// longer than Silence, and Feed them or Flush. It holds at most a message as long
// as the limit and what a single Feed brought.
type Splitter struct {
	// A message's IV is decrypted like any other block, to nothing of use. A
	// block's text depends on the block before it and no other, so what follows
	// the IV comes out right, and one stream serves the whole connection.
	stream cipher.BlockMode
	limit  int

	// buf is text up to plain and ciphertext, less than a block, from there.
	// Blocks begin at multiples of 16.
	buf   []byte
	plain int
	// start is where the IV of the message at hand stood.
	start int
	scan  braceScanner
	seen  int // how far scan has looked
}

// NewSplitter returns a Splitter of messages under key. limit is StrangerLimit
// or UserLimit.
func NewSplitter(key SessionKey, limit int) *Splitter {
	s := &Splitter{stream: cipher.NewCBCDecrypter(key.block, make([]byte, aes.BlockSize)), limit: limit}
	s.begin(0)
	return s
}

// SetLimit changes the limit, which counts from the next Next on.
func (s *Splitter) SetLimit(limit int) { s.limit = limit }

// begin starts a message at buf[start:].
func (s *Splitter) begin(start int) {
	s.start, s.seen, s.scan = start, start+aes.BlockSize, braceScanner{}
}

// Feed takes what was received. It does not keep p; texts that were returned
// are overwritten.
func (s *Splitter) Feed(p []byte) {
	s.reclaim()
	s.buf = append(s.buf, p...)
	whole := len(s.buf) - len(s.buf)%aes.BlockSize
	s.stream.CryptBlocks(s.buf[s.plain:whole], s.buf[s.plain:whole])
	s.plain = whole
}

// reclaim frees the room of messages that were returned, as soon as it is no
// less than what must be moved for that: so every byte is moved once.
func (s *Splitter) reclaim() {
	if s.start < len(s.buf)-s.start {
		return
	}
	n := copy(s.buf, s.buf[s.start:])
	s.buf = s.buf[:n]
	s.plain, s.seen, s.start = s.plain-s.start, s.seen-s.start, 0
	if n == 0 && cap(s.buf) > keptSplitter {
		s.buf = nil
	}
}

// Next returns the text of the next message, if it ends by the brace rule: in
// the block in which the object it begins with is closed, by the padding that
// belongs there. The text is valid until the next Feed or Flush.
//
// Errors: ErrPartial; ErrUndecryptable, then go on; ErrTooLong.
func (s *Splitter) Next() ([]byte, error) {
	if s.seen < s.plain {
		s.seen += s.scan.look(s.buf[s.seen:s.plain])
	}
	if s.scan.state == afterObject {
		// An object that fills its last block has a whole block of padding
		// behind it.
		end := s.seen - s.seen%aes.BlockSize + aes.BlockSize
		if end <= s.plain {
			if n, good := padding(s.buf[end-aes.BlockSize : end]); good == 1 && s.seen+n == end {
				return s.take(end, s.seen)
			}
			// Something stands behind the object, say a line end: the message
			// ends with the silence, as one that does not begin with an object.
			s.scan.state = noObject
		}
	}
	if len(s.buf)-s.start > s.limit {
		return nil, ErrTooLong
	}
	return nil, ErrPartial
}

// take ends the message at hand, whose text ends at text, before end.
func (s *Splitter) take(end, text int) ([]byte, error) {
	from := s.start + aes.BlockSize
	if end-s.start > s.limit {
		return nil, ErrTooLong
	}
	s.begin(end)
	if !utf8.Valid(s.buf[from:text]) {
		return nil, ErrUndecryptable
	}
	return s.buf[from:text:text], nil
}

// Silence is how long to wait for another byte, counted from the last one,
// before Flush; 0 if there is nothing to flush and any wait is fine. It is known
// once Next has said ErrPartial.
func (s *Splitter) Silence() time.Duration {
	switch n := len(s.buf) - s.start; {
	case n == 0:
		return 0
	case n < minMessage || s.scan.more():
		return LongSilence
	default:
		return ShortSilence
	}
}

// Flush takes all that is there as one message, because nothing came for as long
// as Silence said, and returns its text without white space at its end. The text
// is valid until the next Feed.
//
// Errors: ErrPartial if there is nothing; ErrUndecryptable, then go on;
// ErrTooLong. Whatever padding is wrong, and however, takes one path to one
// result (CFMS.md §1.2).
func (s *Splitter) Flush() ([]byte, error) {
	msg := s.buf[s.start:]
	switch {
	case len(msg) == 0:
		return nil, ErrPartial
	case len(msg) > s.limit:
		return nil, ErrTooLong
	}
	// With a part of a block at its end dropped too, the next byte begins an IV.
	s.buf, s.plain = s.buf[:0], 0
	s.begin(0)
	if len(msg) < minMessage || len(msg)%aes.BlockSize != 0 {
		return nil, ErrUndecryptable
	}
	n, good := padding(msg[len(msg)-aes.BlockSize:])
	text := msg[aes.BlockSize : len(msg)-n]
	if !utf8.Valid(text) {
		good = 0
	}
	if good == 0 {
		return nil, ErrUndecryptable
	}
	text = bytes.TrimRight(text, " \t\r\n")
	return text[:len(text):len(text)], nil
}
