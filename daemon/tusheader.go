package daemon

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"strings"

	"waybill/actions"
)

// tusLength reads Upload-Length. One that is a number, but none of a file, is
// the engine's to refuse.
func tusLength(values []string) (int64, error) {
	if len(values) == 1 {
		if n, ok := digits(values[0]); ok {
			return n, nil
		}
		if len(values[0]) > maxOffsetDigits && strings.Trim(values[0], "0123456789") == "" {
			return 0, actions.Errorf(actions.CodeTooBig, "size %.40s", values[0])
		}
	}
	return 0, actions.Errorf(actions.CodeParam, "%s is not one number", headerLength)
}

// tusMetadata reads Upload-Metadata: "key base64,key base64,key".
func tusMetadata(header string) (map[string]string, error) {
	meta := make(map[string]string)
	if header == "" {
		return meta, nil
	}
	if len(header) > maxTusMetadata {
		return nil, actions.Errorf(actions.CodeParam, "%s is over %d bytes", headerMetadata, maxTusMetadata)
	}
	bad := actions.Errorf(actions.CodeParam, "%s is not a list of keys with base64", headerMetadata)
	for pair := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(strings.Trim(pair, " "), " ")
		for _, c := range []byte(key) {
			if c <= ' ' || c > '~' {
				return nil, bad
			}
		}
		text, err := base64.StdEncoding.DecodeString(strings.Trim(value, " "))
		if _, twice := meta[key]; err != nil || key == "" || twice {
			return nil, bad
		}
		meta[key] = string(text)
	}
	return meta, nil
}

// tusSHA1 reads the digest that the complete file must have.
func tusSHA1(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	sum, err := hex.DecodeString(s)
	if err != nil || len(sum) != sha1.Size {
		return "", actions.Errorf(actions.CodeParam, "sha1 is not 40 hex digits")
	}
	return hex.EncodeToString(sum), nil
}

// tusChecksum is what Upload-Checksum announces: no hash, if it announces nothing.
type tusChecksum struct {
	hash hash.Hash
	sum  []byte
}

// readChecksum reads "algorithm base64".
func readChecksum(values []string) (c tusChecksum, err error) {
	if len(values) == 0 {
		return c, nil
	}
	name, value, _ := strings.Cut(values[0], " ")
	switch name {
	case "sha1":
		c.hash = sha1.New()
	case "sha256":
		c.hash = sha256.New()
	case "crc32":
		c.hash = crc32.NewIEEE()
	default:
		return tusChecksum{}, actions.Errorf(actions.CodeParam, "%s is of an unknown kind", headerChecksum)
	}
	c.sum, err = base64.StdEncoding.DecodeString(value)
	if err != nil || len(c.sum) != c.hash.Size() || len(values) > 1 {
		return tusChecksum{}, actions.Errorf(actions.CodeParam, "%s is not base64 of the right length", headerChecksum)
	}
	return c, nil
}
