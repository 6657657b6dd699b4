package docwire

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

const (
	// GreetingWithin is how long a client may take for each of steps 1 and 3,
	// KeyWithin for the steps after them: it may be asking its user about a
	// changed key (CFMS.md §1.2).
	GreetingWithin = 10 * time.Second
	KeyWithin      = 120 * time.Second

	// maxStrangeLine is how far HTTP/1. is looked for in what is not the
	// handshake.
	maxStrangeLine = 1 << 10
	// connectionKeySize is that of the key that x25519 hands out.
	connectionKeySize = 32
)

// The words of the handshake, and what is said to those who do not know them
// (CFMS.md §1.2, §1.3).
const (
	helloWord   = "hello"
	encryptWord = "enableEncryption"
	encryptedOK = `{"msg": "ok", "code": 0}`
	unknownWord = "Unknown request"
	notHTTPHere = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
)

var (
	lineEnd    = []byte("\r\n")
	httpMarker = []byte("HTTP/1.")
)

// Why a handshake fails; the connection is to be closed after the answer that
// came with the error, if one did (CFMS.md §1.3).
var (
	// ErrNotHandshake is a first or third step that is not the handshake's.
	ErrNotHandshake = errors.New("not the handshake")
	// ErrHTTP is the same of somebody who takes this for HTTP.
	ErrHTTP = errors.New("HTTP instead of the handshake")
	// ErrKeyExchange is a key that cannot be opened or is of a wrong length, or
	// a first message that is not under the key agreed on.
	ErrKeyExchange = errors.New("key exchange failed")
)

type handshakeStep uint8

// What is waited for: steps 1, 3, 5 and, for x25519, 7.
const (
	stepHello handshakeStep = iota
	stepEncrypt
	stepKey
	stepTest
	stepDone
)

// Handshake is the server's side of the handshake of one connection
// (CFMS.md §1.2). It is driven as a Splitter is: Feed what was received, call Next
// until it says ErrPartial, then wait for bytes no longer than Silence and
// Within, and Feed them or, after the silence, Flush. Once Done, Session has the
// rest.
type Handshake struct {
	key  *ServerKey
	step handshakeStep
	// buf is what was received and not used yet, up to the key exchange; then
	// splitter has it.
	buf []byte
	// lineMayEnd: a CRLF at the beginning of buf belongs to the word before.
	lineMayEnd bool
	silence    time.Duration
	session    SessionKey
	splitter   *Splitter
}

// NewHandshake begins the handshake of a connection.
func NewHandshake(key *ServerKey) *Handshake { return &Handshake{key: key} }

// Feed takes what was received. It does not keep p.
func (h *Handshake) Feed(p []byte) {
	if h.splitter != nil {
		h.splitter.Feed(p)
		return
	}
	h.buf = append(h.buf, p...)
}

// Next returns what is to be sent now, in one write; it is not to be changed.
// Errors: ErrPartial; ErrNotHandshake and ErrHTTP, with an answer; ErrKeyExchange
// and ErrTooLong, without.
func (h *Handshake) Next() ([]byte, error) { return h.advance(false) }

// Flush is Next when nothing came for as long as Silence said.
func (h *Handshake) Flush() ([]byte, error) { return h.advance(true) }

// Silence is how long to wait for another byte, counted from the last one,
// before Flush; 0 if there is nothing that a silence would decide. It is known
// once Next has said ErrPartial.
func (h *Handshake) Silence() time.Duration { return h.silence }

// Within is how long the client may take for what is waited for now, counted
// from the answer before it or from the beginning.
func (h *Handshake) Within() time.Duration {
	if h.step <= stepEncrypt {
		return GreetingWithin
	}
	return KeyWithin
}

// Done tells that the handshake is complete. What was received behind it is in
// the Splitter already.
func (h *Handshake) Done() bool { return h.step == stepDone }

// Session returns, once Done, the connection's key and the Splitter for its
// messages, with StrangerLimit.
func (h *Handshake) Session() (SessionKey, *Splitter) { return h.session, h.splitter }

func (h *Handshake) advance(silent bool) ([]byte, error) {
	h.silence = 0
	switch h.step {
	case stepHello:
		return h.word(helloWord, []byte(helloWord), silent)
	case stepEncrypt:
		return h.word(encryptWord, h.key.offer, silent)
	case stepKey:
		return h.exchange(silent)
	case stepTest:
		return h.test(silent)
	}
	return nil, ErrPartial
}

// word expects a word in clear and answers it.
func (h *Handshake) word(want string, answer []byte, silent bool) ([]byte, error) {
	if rest, found := bytes.CutPrefix(h.buf, lineEnd); found && h.lineMayEnd {
		h.buf, h.lineMayEnd = rest, false
	}
	if rest, found := bytes.CutPrefix(h.buf, []byte(want)); found {
		h.buf, h.lineMayEnd = rest, true
		h.step++
		return answer, nil
	}
	halfLineEnd := h.lineMayEnd && bytes.HasPrefix(lineEnd, h.buf)
	if halfLineEnd || bytes.HasPrefix([]byte(want), h.buf) {
		return nil, ErrPartial
	}
	// Only the first line can tell HTTP, and only once it is all there what is
	// no HTTP; some that never end one are answered after a silence.
	line, _, ended := bytes.Cut(h.buf[:min(len(h.buf), maxStrangeLine)], lineEnd[1:])
	switch {
	case bytes.Contains(line, httpMarker):
		return []byte(notHTTPHere), ErrHTTP
	case silent || ended || len(line) == maxStrangeLine:
		return []byte(unknownWord), ErrNotHandshake
	}
	h.silence = ShortSilence
	return nil, ErrPartial
}

// exchange expects the client's key, step 5.
func (h *Handshake) exchange(silent bool) ([]byte, error) {
	n, got := h.key.answerSize(), h.buf
	if h.lineMayEnd && bytes.HasPrefix(got, lineEnd) {
		// The end of the line before, or one key in 65,536: the number of
		// bytes tells, as the client now waits for an answer.
		switch {
		case len(got) >= n+len(lineEnd):
			got = got[len(lineEnd):]
		case len(got) >= n && !silent:
			h.silence = ShortSilence
			return nil, ErrPartial
		}
	}
	if len(got) < n {
		return nil, ErrPartial
	}
	agreed, err := h.key.agree(got[:n])
	if err != nil {
		return nil, err
	}
	if h.key.method == MethodRSA {
		h.begin(agreed, stepDone, got[n:])
		return agreed.AppendMessage(nil, []byte(encryptedOK)), nil
	}
	raw := make([]byte, connectionKeySize)
	rand.Read(raw) // never fails: crypto/rand ends the process first
	session, err := newSessionKey(raw)
	if err != nil {
		return nil, err
	}
	h.begin(session, stepTest, got[n:])
	return agreed.AppendMessage(nil, hex.AppendEncode(nil, raw)), nil
}

// begin goes over to messages under the connection's key.
func (h *Handshake) begin(session SessionKey, next handshakeStep, received []byte) {
	h.session, h.step = session, next
	h.splitter = NewSplitter(session, StrangerLimit)
	h.splitter.Feed(received)
	h.buf = nil
}

// test expects any message that can be decrypted, step 7.
func (h *Handshake) test(silent bool) ([]byte, error) {
	_, err := h.splitter.Next()
	if silent && err == ErrPartial {
		_, err = h.splitter.Flush()
	}
	switch err {
	case nil:
		h.step = stepDone
		return h.session.AppendMessage(nil, []byte(encryptedOK)), nil
	case ErrPartial:
		h.silence = h.splitter.Silence()
		return nil, err
	case ErrUndecryptable:
		return nil, ErrKeyExchange
	default:
		return nil, err
	}
}
