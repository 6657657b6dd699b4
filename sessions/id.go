package sessions

import (
	"errors"

	"github.com/google/uuid"
)

// ID names a transfer session or a job: a random UUID (v4), on the wire in
// its 36-character hyphenated form.
type ID uuid.UUID

// ErrBadID is returned by ParseID for anything but a hyphenated UUID.
var ErrBadID = errors.New("not a UUID")

// NewID returns a fresh random ID. It never returns one whose .NET byte order
// begins with the magic of a request packet (bb 2c 00 00), because an upload
// frame carrying it would be taken for a packet (PROTOCOL.md §6).
func NewID() ID {
	for {
		id := ID(uuid.New())
		if !id.reserved() {
			return id
		}
	}
}

func (id ID) reserved() bool {
	return id[0] == 0x00 && id[1] == 0x00 && id[2] == 0x2c && id[3] == 0xbb
}

// ParseID reads the hyphenated form, in any case. It takes bytes as well as a
// string because replay reads IDs out of journal lines without copying them.
func ParseID[T ~string | ~[]byte](s T) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, ErrBadID
	}
	i := 0
	for n := range id {
		switch n {
		case 4, 6, 8, 10: // the hyphens looked at above; one elsewhere is no digit
			i++
		}
		hi, lo := unhex[s[i]], unhex[s[i+1]]
		if hi|lo > 15 {
			return ID{}, ErrBadID
		}
		id[n] = hi<<4 | lo
		i += 2
	}
	return id, nil
}

// unhex maps a byte to the value of the hex digit it is, 0xff otherwise.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range 10 {
		t['0'+i] = byte(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = byte(10+i), byte(10+i)
	}
	return t
}()

// IsZero reports whether id is the nil UUID, which no session has.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the lower-case hyphenated form.
func (id ID) String() string { return string(id.Append(make([]byte, 0, 36))) }

// Append appends the lower-case hyphenated form to dst.
func (id ID) Append(dst []byte) []byte {
	const hex = "0123456789abcdef"
	for i, b := range id {
		switch i {
		case 4, 6, 8, 10:
			dst = append(dst, '-')
		}
		dst = append(dst, hex[b>>4], hex[b&15])
	}
	return dst
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return id.Append(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	got, err := ParseID(b)
	if err != nil {
		return err
	}
	*id = got
	return nil
}
