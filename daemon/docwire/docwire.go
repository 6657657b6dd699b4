// Package docwire is the wire of the document library, CFMS.md: bytes become
// requests and typed actions, results and refusals become bytes, in both
// directions. It is pure functions and small machines that are fed: no sockets,
// no goroutines, no clock. Who may do what, and what it does, is decided in
// package actions.
//
// There are two layers. The request vocabulary, Decode and AppendReply, is the
// same for all transports: one JSON text in, one text out (§1.3, §2 to §5). The
// framing of the legacy encrypted TCP listener, Handshake, Splitter and
// SessionKey (§1.2), carries such texts; on a WebSocket a message is one as it
// stands.
package docwire

import (
	"errors"
	"time"

	"waybill/actions"
	"waybill/fsview/acl"
)

const (
	// Goodbye is the whole answer to a disconnect; no JSON (CFMS.md §3.3).
	Goodbye = "Goodbye"
	// TaskPath is what the paths of HTTP tasks begin with; clients are told at
	// login (§1.5, §3.1).
	TaskPath = "/tasks/"
)

const (
	// requestVersion is the only version of the protocol there is.
	requestVersion = 1
	// apiVersion is what a reply to a request with a trace_id says (§2).
	apiVersion = "v1"
	// maxTraceID bounds a trace_id, decoded, in bytes; a longer one is ignored.
	maxTraceID = 128
	// maxDepth bounds how deep arrays and objects may nest in a request, the
	// request itself counted (§1.3).
	maxDepth = 64
)

// Settings are what the wire has to know of the daemon and of the connection.
type Settings struct {
	// FTPPort is the port of the FTPS listener, 0 when there is none (CFMS.md
	// §3.1).
	FTPPort int
	// TimestampWindow is by how much X-Ca-Timestamp may be off, either way; it
	// is not looked at unless this is positive (§2).
	TimestampWindow time.Duration
	// Local tells that the peer is on this machine: only from there may a user
	// name be empty, which is how the main token is shown.
	Local bool
}

// Request is one message with its envelope and its arguments read (CFMS.md §2).
// It aliases nothing of the message. Exactly one of Action, Disconnect and Err
// is set.
type Request struct {
	// Name is the request's canonical name, "" if it could not be read or is
	// unknown. An alias has become the name it stands for. It is there also
	// beside an Err, which some requests are told in their own way.
	Name string
	// Action is what to run.
	Action actions.DocAction
	// Disconnect: answer Goodbye and close.
	Disconnect bool
	// Username and Token are auth as sent, for actions.DocCall; "" for login and
	// disconnect. The token is a secret.
	Username, Token string
	// TraceID is to be sent back, "" if there is none.
	TraceID string
	// Err is an acl.Code of §1.3 or §2: the request is refused before anything
	// runs. Its answer is AppendReply with this error.
	Err error
}

// Malformed tells whether a request was no JSON object at all: the legacy
// listener closes at the tenth message that cannot be read (CFMS.md §1.3).
func Malformed(err error) bool { return errors.Is(err, acl.CodeFormat) }
