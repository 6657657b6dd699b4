package sessions

import (
	"fmt"
	"strconv"
	"time"

	"waybill/journal"
)

// The kinds of facts about transfers. Their bodies are pinned by
// testdata/journal: a kind's meaning and bytes never change.
const (
	KindUploadOpened    = "upload.opened"
	KindUploadSized     = "upload.sized"
	KindUploadStored    = "upload.stored"
	KindUploadUnstored  = "upload.unstored"
	KindUploadTruncated = "upload.truncated"
	KindUploadSealed    = "upload.sealed"
	KindUploadPlaced    = "upload.placed"
	KindUploadRejected  = "upload.rejected"
	KindUploadCancelled = "upload.cancelled"
	KindUploadExpired   = "upload.expired"
	KindUploadPublished = "upload.published"

	KindDownloadOpened  = "download.opened"
	KindDownloadRead    = "download.read"
	KindDownloadClosed  = "download.closed"
	KindDownloadExpired = "download.expired"
	// KindDownloadCancelled ends read tasks only.
	KindDownloadCancelled = "download.cancelled"
)

// Fact is what this package decides; see journal.Fact.
type Fact = journal.Fact

// Identity tells one state of one file from every other: a download is bound
// to it. Times are in nanoseconds. In JSON every field but Size is a decimal
// string, since integers in the journal stay below 2^53.
type Identity struct {
	Dev     uint64 `json:"dev,string"`
	Ino     uint64 `json:"ino,string"`
	Size    int64  `json:"size"`
	MtimeNS int64  `json:"mtime_ns,string"`
	CtimeNS int64  `json:"ctime_ns,string"`
}

// The bodies that are not on the hot path are written by encoding/json. Those
// of them that a replay meets often are read by scanbody.go.

type uploadOpened struct {
	Session ID     `json:"session"`
	Path    string `json:"path"`
	// Size is absent while the length is not known (deferred).
	Size   *int64 `json:"size,omitempty"`
	SHA1   string `json:"sha1,omitempty"`
	IdleMS int64  `json:"idle_ms,omitempty"`
	// Until is when the session ends by the wall clock, RFC 3339.
	Until *time.Time `json:"until,omitempty"`
	Task  *Task      `json:"task,omitempty"`
	// Meta is what the client of tus wants to be told again, as sent.
	Meta string `json:"meta,omitempty"`
}

type uploadSized struct {
	Session ID    `json:"session"`
	Size    int64 `json:"size"`
}

type uploadSealed struct {
	Session ID     `json:"session"`
	Size    int64  `json:"size"`
	Digest  string `json:"digest"`
}

type uploadPlaced struct {
	Session ID     `json:"session"`
	Path    string `json:"path"`
}

type uploadRejected struct {
	Session ID     `json:"session"`
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
}

type sessionOnly struct {
	Session ID `json:"session"`
}

type uploadPublished struct {
	Session  ID     `json:"session"`
	Revision string `json:"revision"`
}

// Of downloadOpened, Identity, SHA1 and IdleMS are set for files of the served
// root, Until, Task and Content for read tasks.
type downloadOpened struct {
	Session  ID         `json:"session"`
	Path     string     `json:"path"`
	Identity *Identity  `json:"identity,omitempty"`
	SHA1     string     `json:"sha1,omitempty"`
	IdleMS   int64      `json:"idle_ms,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
	Task     *Task      `json:"task,omitempty"`
	Content  *Content   `json:"content,omitempty"`
}

// Stored is the body of upload.stored: ranges that became durable.
type Stored struct {
	Session ID
	Ranges  []Range
	// CRC32C covers the bytes of Ranges in ascending order, as they were
	// received; those of tasks as read back after the sync.
	CRC32C uint32
	// Calls is the number of requests this fact answers.
	Calls int64
}

// fact renders a cold body.
func fact(kind string, body any) Fact { return journal.NewFact(kind, body) }

func (s *Stored) fact() Fact {
	b := make([]byte, 0, 96+24*len(s.Ranges))
	b = appendSessionRanges(b, s.Session, s.Ranges)
	b = append(b, `,"crc32c":"`...)
	b = appendHex32(b, s.CRC32C)
	b = append(b, `","calls":`...)
	b = strconv.AppendInt(b, s.Calls, 10)
	return Fact{Kind: KindUploadStored, Body: append(b, '}')}
}

func rangesFact(kind string, id ID, ranges []Range) Fact {
	b := appendSessionRanges(make([]byte, 0, 64+24*len(ranges)), id, ranges)
	return Fact{Kind: kind, Body: append(b, '}')}
}

func appendSessionRanges(b []byte, id ID, ranges []Range) []byte {
	b = append(b, `{"session":"`...)
	b = id.Append(b)
	b = append(b, `","ranges":[`...)
	for i, r := range ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = strconv.AppendInt(b, r[0], 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, r[1], 10)
		b = append(b, ']')
	}
	return append(b, ']')
}

func appendHex32(b []byte, v uint32) []byte {
	const hex = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hex[v>>shift&15])
	}
	return b
}

// factError tells which record's body does not decode.
func factError(e *journal.Entry, err error) error {
	return fmt.Errorf("%s: body: %w", e.Kind, err)
}
