package daemon

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"waybill/sessions"
)

// downloadPath is where the files of downloads are.
const downloadPath = "/download/"

var (
	// errSignature is all that is said of an address that is not one of ours,
	// errLate of one whose time is over.
	errSignature = errors.New("the address is not valid")
	errLate      = errors.New("the address has expired")
)

// urlKey derives the key that signs addresses, so that what one of the two keys
// signs is never good for the other.
func urlKey(jwtKey []byte) []byte {
	key, err := hkdf.Key(sha256.New, jwtKey, nil, "waybill download url v1", sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("daemon: derive a key: %v", err)) // only for lengths that are not asked for here
	}
	return key
}

// downloadURL is the address of a download that opens it to whoever has it, for
// as long as urlLife. It is a secret.
func (a *authority) downloadURL(id sessions.ID) string {
	path, exp := downloadPath+id.String(), strconv.FormatInt(a.now().Add(urlLife).Unix(), 10)
	return path + "?exp=" + exp + "&sig=" + hex.EncodeToString(a.signURL(path, exp))
}

func (a *authority) signURL(path, exp string) []byte {
	mac := hmac.New(sha256.New, a.urls)
	fmt.Fprintf(mac, "%s\n%s\n%s", http.MethodGet, path, exp) // a hash never fails
	return mac.Sum(nil)
}

// checkURL tells whether an address with a signature is one of ours and still
// good: nil, errSignature or errLate. The signature is for GET, and HEAD.
func (a *authority) checkURL(path string, q url.Values) error {
	exp := q.Get("exp")
	sig, err := hex.DecodeString(q.Get("sig"))
	if err != nil || !hmac.Equal(sig, a.signURL(path, exp)) {
		return errSignature
	}
	at, err := strconv.ParseInt(exp, 10, 64)
	if err != nil {
		return errSignature
	}
	if a.now().After(time.Unix(at, 0)) {
		return errLate
	}
	return nil
}
