package daemon

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// maxOffsetDigits is that of an integer of structured fields (RFC 9651).
const maxOffsetDigits = 15

// uploadOffset reads Upload-Offset, which must be there.
func uploadOffset(values []string) (offset int64, ok bool) {
	if len(values) != 1 || len(values[0]) > maxOffsetDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	return int64(n), err == nil
}

// uploadComplete reads Upload-Complete; absent is no.
func uploadComplete(values []string) (complete, ok bool) {
	switch {
	case len(values) == 0:
		return false, true
	case len(values) > 1:
		return false, false
	}
	return values[0] == "?1", values[0] == "?1" || values[0] == "?0"
}

// isAbsentOr tells whether a header is either absent or what it says.
func isAbsentOr(values []string, only string) bool {
	return len(values) == 0 || len(values) == 1 && values[0] == only
}

// reprDigest reads the SHA-256 of Repr-Digest, in hex: "" if there is none.
// Other digests are somebody else's (RFC 9530).
func reprDigest(values []string) (digest string, ok bool) {
	if len(values) == 0 {
		return "", true
	}
	for member := range strings.SplitSeq(strings.Join(values, ","), ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(member), "=")
		if !ok || key == "" {
			return "", false
		}
		sum, ok := byteSequence(value)
		if !ok {
			return "", false
		}
		if key == "sha-256" {
			if len(sum) != 32 {
				return "", false
			}
			digest = hex.EncodeToString(sum) // of several, the last one counts
		}
	}
	return digest, true
}

// byteSequence reads ":base64:" with parameters, which mean nothing here.
func byteSequence(s string) ([]byte, bool) {
	s, _, _ = strings.Cut(s, ";")
	s = strings.TrimRight(s, " ")
	if len(s) < 2 || s[0] != ':' || s[len(s)-1] != ':' {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(s[1 : len(s)-1])
	return b, err == nil
}
