package sessions

import (
	"encoding/json"
	"strconv"
)

// scanStored reads the body of upload.stored, and with stored false that of
// upload.unstored or download.read, which are its beginning. Replay meets
// more of these than of all other kinds together, so bodies in exactly the
// form we write are read by hand; anything else goes through encoding/json.
func scanStored(body []byte, stored bool, into *Stored) error {
	into.Ranges = into.Ranges[:0]
	if scanStoredFast(body, stored, into) {
		return nil
	}
	var slow struct {
		Session ID      `json:"session"`
		Ranges  []Range `json:"ranges"`
		CRC32C  string  `json:"crc32c"`
		Calls   int64   `json:"calls"`
	}
	if err := json.Unmarshal(body, &slow); err != nil {
		return err
	}
	into.Session, into.Ranges, into.Calls = slow.Session, slow.Ranges, slow.Calls
	if stored {
		crc, err := strconv.ParseUint(slow.CRC32C, 16, 32)
		if err != nil {
			return err
		}
		into.CRC32C = uint32(crc)
	}
	return nil
}

func scanStoredFast(b []byte, stored bool, into *Stored) bool {
	const head, mid = `{"session":"`, `","ranges":[`
	if len(b) < len(head)+36+len(mid) || string(b[:len(head)]) != head {
		return false
	}
	id, err := ParseID(b[len(head) : len(head)+36])
	if err != nil {
		return false
	}
	into.Session = id
	b = b[len(head)+36:]
	if string(b[:len(mid)]) != mid {
		return false
	}
	b = b[len(mid):]
	for len(b) > 0 && b[0] != ']' {
		var r Range
		var ok bool
		if len(into.Ranges) > 0 {
			if b, ok = skip(b, ','); !ok {
				return false
			}
		}
		if b, ok = skip(b, '['); !ok {
			return false
		}
		if r[0], b, ok = number(b); !ok {
			return false
		}
		if b, ok = skip(b, ','); !ok {
			return false
		}
		if r[1], b, ok = number(b); !ok {
			return false
		}
		if b, ok = skip(b, ']'); !ok {
			return false
		}
		into.Ranges = append(into.Ranges, r)
	}
	if !stored {
		return string(b) == "]}"
	}
	const crc, calls = `],"crc32c":"`, `","calls":`
	if len(b) < len(crc)+8+len(calls) || string(b[:len(crc)]) != crc {
		return false
	}
	b = b[len(crc):]
	into.CRC32C = 0
	for i := range 8 {
		d := unhex[b[i]]
		if d > 15 {
			return false
		}
		into.CRC32C = into.CRC32C<<4 | uint32(d)
	}
	b = b[8:]
	if string(b[:len(calls)]) != calls {
		return false
	}
	n, rest, ok := number(b[len(calls):])
	into.Calls = n
	return ok && string(rest) == "}"
}

func skip(b []byte, c byte) ([]byte, bool) {
	if len(b) == 0 || b[0] != c {
		return b, false
	}
	return b[1:], true
}

// number reads a decimal of at most 16 digits, as all integers in the journal
// are below 2^53, without leading zeros, as in all JSON.
func number(b []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for i < len(b) && i < 16 && '0' <= b[i] && b[i] <= '9' {
		n = n*10 + int64(b[i]-'0')
		i++
	}
	return n, b[i:], i == 1 || i > 1 && b[0] != '0'
}
