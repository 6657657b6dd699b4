package sessions

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// writtenBodies are all shapes of the bodies that are scanned, with the bounds
// of what is in them.
func writtenBodies() []Fact {
	var (
		id    = ID{0x12, 0x34, 15: 0xff}
		until = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
		whole = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		size  = int64(1<<53 - 1)
		sha1  = strings.Repeat("a1", 20)
		task  = &Task{ID: strings.Repeat("0f", 64), Token: strings.Repeat("ab", 32), Node: 1<<53 - 1, Revision: "1 <é>"}
		bare  = &Task{ID: "1", Token: "2"}
		file  = &Identity{Dev: 65024, Ino: 9_999_999_999_999_999_999, Size: size, MtimeNS: math.MaxInt64}
	)
	return []Fact{
		fact(KindUploadOpened, uploadOpened{Session: id, Path: "a/é <b>&c", Size: &size, SHA1: sha1, IdleMS: 120_000}),
		fact(KindUploadOpened, uploadOpened{Session: id, Size: new(int64(0))}),
		fact(KindUploadOpened, uploadOpened{Session: id, Path: "a", Until: &until, Task: task}),
		fact(KindUploadOpened, uploadOpened{Session: id, Path: "a", Until: &whole, Task: bare}),
		fact(KindUploadSized, uploadSized{id, size}),
		fact(KindUploadTruncated, uploadSized{id, 0}),
		fact(KindUploadSealed, uploadSealed{id, size, strings.Repeat("f", 64)}),
		fact(KindUploadPlaced, uploadPlaced{id, "a/é <b>&c"}),
		fact(KindUploadPublished, uploadPublished{id, "1"}),
		fact(KindUploadCancelled, sessionOnly{id}),
		fact(KindUploadExpired, sessionOnly{id}),
		fact(KindDownloadOpened, downloadOpened{Session: id, Path: "a", Identity: file, SHA1: sha1, IdleMS: 1}),
		fact(KindDownloadOpened, downloadOpened{Session: id, Path: "a", Identity: &Identity{}}),
		fact(KindDownloadOpened, downloadOpened{Session: id, Path: "a", Until: &until, Task: task, Content: &Content{"c", size}}),
		fact(KindDownloadClosed, sessionOnly{id}),
	}
}

// reading is one body, read in three ways.
type reading struct {
	taken                  bool // by the scan
	scanned, decoded, json any
	decodeErr, jsonErr     error
}

func readBody(kind string, body []byte) (r reading) {
	switch kind {
	case KindUploadOpened:
		var a, b, c uploadOpened
		r.taken, r.decodeErr, r.jsonErr = scanUploadOpened(body, &a), decodeUploadOpened(body, &b), json.Unmarshal(body, &c)
		r.scanned, r.decoded, r.json = a, b, c
	case KindDownloadOpened:
		var a, b, c downloadOpened
		r.taken, r.decodeErr, r.jsonErr = scanDownloadOpened(body, &a), decodeDownloadOpened(body, &b), json.Unmarshal(body, &c)
		r.scanned, r.decoded, r.json = a, b, c
	case KindDownloadClosed:
		var c sessionOnly
		r.scanned, r.taken = scanSession(body)
		r.decoded, r.decodeErr = decodeSession(body)
		r.jsonErr = json.Unmarshal(body, &c)
		r.json = c.Session
	default:
		var a, b, c uploadChange
		r.taken, r.decodeErr, r.jsonErr = scanUploadChange(kind, body, &a), decodeUploadChange(kind, body, &b), json.Unmarshal(body, &c)
		r.scanned, r.decoded, r.json = a, b, c
	}
	return r
}

// check tells whether a body reads the same in all ways.
func (r *reading) check(t *testing.T, body []byte) {
	t.Helper()
	if r.taken {
		require.NoError(t, r.jsonErr, "%s", body)
		assert.Equal(t, r.json, r.scanned, "%s", body)
	}
	assert.Equal(t, r.jsonErr, r.decodeErr, "%s", body)
	assert.Equal(t, r.json, r.decoded, "%s", body)
}

// What a scan takes, encoding/json reads the same, and what it does not take is
// read by encoding/json.
func FuzzScanBody(f *testing.F) {
	var kinds []string
	for _, w := range writtenBodies() {
		if !slices.Contains(kinds, w.Kind) {
			kinds = append(kinds, w.Kind)
		}
		f.Add(uint(slices.Index(kinds, w.Kind)), w.Body)
	}
	for _, body := range otherSpellings() {
		for i := range kinds {
			f.Add(uint(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint, body []byte) {
		r := readBody(kinds[kind%uint(len(kinds))], body)
		r.check(t, body)
	})
}

// otherSpellings are bodies that are almost in the form we write.
func otherSpellings() []string {
	const head = `{"session":"12340000-0000-0000-0000-0000000000ff"`
	return []string{
		``, `{}`, `[]`, `{"session":""}`, head, head + `}}`, head + `} `, head + `,}`, ` ` + head + `}`,
		`{"session":"12340000-0000-0000-0000-0000000000fg"}`,
		`{"session":"12340000-0000-0000-0000-0000000000ff0"}`,
		`{"session":"1234000000000-0000-0000-0000000000ff"}`,
		`{"SESSION":"12340000-0000-0000-0000-0000000000ff"}`,
		`{"session":"\u0031234000-0000-0000-0000-0000000000ff"}`,
		`{"path":"a","session":"12340000-0000-0000-0000-0000000000ff"}`,
		head + `,"session":"00000000-0000-0000-0000-000000000000"}`,
		head + `,"size":01}`, head + `,"size":1.0}`, head + `,"size":-1}`, head + `,"size":1e3}`, head + `,"size":"1"}`, head + `,"size":}`,
		head + `,"size":null}`, head + `,"size":9999999999999999}`, head + `,"size":10000000000000000}`, head + `,"size":99999999999999999999}`,
		head + `,"size":5,"digest":"\u00e9"}`, head + `,"size":5,"digest":"a` + "\xff" + `"}`, head + `,"size":5,"digest":"a` + "\n" + `"}`,
		head + `,"path":"a\"b"}`, head + `,"path":"a` + "\xff" + `"}`, head + `,"path":"` + "\t" + `"}`, head + `,"path":"a}`, head + `,"path":null}`,
		head + `,"path":"a","size":5,"other":1}`, head + `,"path":"a","idle_ms":1,"size":5}`, head + `,"path":"a","size":5,"size":6}`,
		head + `,"path":"a","until":"2026-01-02T03:04:05+02:00","task":{"id":"1","token_sha256":"2"}}`,
		head + `,"path":"a","until":"2026-01-02 03:04:05Z"}`, head + `,"path":"a","until":"2026-01-02T03:04:05,5Z"}`, head + `,"path":"a","until":null}`,
		head + `,"path":"a","until":"2026-13-02T03:04:05Z"}`, head + `,"path":"a","until":"}`, head + `,"path":"a","until":""}`,
		head + `,"path":"a","task":{"id":"1","token_sha256":"2","node":18446744073709551615}}`, head + `,"path":"a","task":{"id":"1"}}`,
		head + `,"path":"a","task":{"token_sha256":"2","id":"1"}}`, head + `,"path":"a","task":{"id":"1","token_sha256":"2","revision":""}}`,
		head + `,"path":"a","identity":{"dev":"18446744073709551615","ino":"1","size":1,"mtime_ns":"1","ctime_ns":"1"}}`,
		head + `,"path":"a","identity":{"dev":"01","ino":"1","size":1,"mtime_ns":"1","ctime_ns":"1"}}`,
		head + `,"path":"a","identity":{"dev":1,"ino":"1","size":1,"mtime_ns":"1","ctime_ns":"1"}}`,
		head + `,"path":"a","identity":{"dev":"1","ino":"","size":1,"mtime_ns":"1","ctime_ns":"1"}}`,
		head + `,"path":"a","identity":{"dev":"1","ino":"1","size":1,"mtime_ns":"-1","ctime_ns":"1"}}`,
		head + `,"path":"a","identity":{"dev":"1","ino":"1","size":1,"mtime_ns":"9223372036854775808","ctime_ns":"1"}}`,
		head + `,"path":"a","content":{"sha256":"a","size":1}}`, head + `,"path":"a","content":{"size":1,"sha256":"a"}}`,
	}
}

func TestScansTakeWhatIsWritten(t *testing.T) {
	t.Parallel()
	for _, w := range writtenBodies() {
		r := readBody(w.Kind, w.Body)
		assert.True(t, r.taken, "%s %s", w.Kind, w.Body)
		r.check(t, w.Body)
	}
}

// Every body cut short, and with any byte changed, reads the same in all ways.
func TestScansOfDamagedBodies(t *testing.T) {
	t.Parallel()
	for _, w := range writtenBodies() {
		for i := range w.Body {
			for _, b := range [][]byte{
				w.Body[:i], slices.Delete(slices.Clone(w.Body), i, i+1), slices.Insert(slices.Clone(w.Body), i, '0'),
			} {
				r := readBody(w.Kind, b)
				r.check(t, b)
			}
			for _, c := range []byte("0\"\\,:{}[]- \x00\xff") {
				b := slices.Clone(w.Body)
				b[i] = c
				r := readBody(w.Kind, b)
				r.check(t, b)
			}
		}
	}
}

// A body that can be no fact's is refused, and nothing changes.
func TestApplyRefusesBadBodies(t *testing.T) {
	t.Parallel()
	for _, w := range writtenBodies() {
		table := NewTable()
		e := journal.Entry{Kind: w.Kind, Body: w.Body[:len(w.Body)-1]}
		require.ErrorContains(t, table.Apply(&e), w.Kind+": body: ")
		assert.Empty(t, table.Image().Uploads)
		assert.Empty(t, table.Image().Downloads)
	}
}
