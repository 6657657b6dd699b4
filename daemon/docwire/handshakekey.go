package docwire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// Method is how a session key is agreed on; its value is the method of step 4 of
// the handshake (CFMS.md §1.2). A client knows one and cannot ask for it.
type Method string

// The methods.
const (
	MethodRSA    Method = "rsa"
	MethodX25519 Method = "x25519"
)

const (
	rsaBits      = 4096
	x25519Size   = 32
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

var errKeyFile = errors.New("not a server key")

// ServerKey is what a server's clients know it by: they store it, so it should
// outlive the daemon (CFMS.md §1.2). It may be used by any number of goroutines.
type ServerKey struct {
	method Method
	// That of the method is set.
	rsa    *rsa.PrivateKey
	x25519 *ecdh.PrivateKey
	// offer is step 4 of every handshake, in clear.
	offer []byte
}

// GenerateServerKey makes a key. An RSA key takes about a second.
func GenerateServerKey(m Method) (*ServerKey, error) {
	k := &ServerKey{method: m}
	var err error
	switch m {
	case MethodRSA:
		k.rsa, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case MethodX25519:
		k.x25519, err = ecdh.X25519().GenerateKey(rand.Reader)
	default:
		err = errors.ErrUnsupported
	}
	if err == nil {
		err = k.makeOffer()
	}
	if err != nil {
		return nil, fmt.Errorf("generate a %q key: %w", m, err)
	}
	return k, nil
}

// ParseServerKey reads what Marshal wrote; white space around it is skipped. The
// error says nothing of what was read.
func ParseServerKey(m Method, file []byte) (*ServerKey, error) {
	k := &ServerKey{method: m}
	var ok bool
	switch m {
	case MethodRSA:
		k.rsa, ok = parseRSA(file)
	case MethodX25519:
		k.x25519, ok = parseX25519(file)
	}
	if !ok {
		return nil, fmt.Errorf("parse a %q key: %w", m, errKeyFile)
	}
	if err := k.makeOffer(); err != nil {
		return nil, fmt.Errorf("parse a %q key: %w", m, err)
	}
	return k, nil
}

// parseRSA takes 4096 bits only: clients send exactly 512 bytes.
func parseRSA(file []byte) (*rsa.PrivateKey, bool) {
	block, rest := pem.Decode(file)
	if block == nil || block.Type != privateBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, false
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, false
	}
	key, ok := parsed.(*rsa.PrivateKey)
	return key, ok && key.N.BitLen() == rsaBits
}

func parseX25519(file []byte) (*ecdh.PrivateKey, bool) {
	raw, err := hex.AppendDecode(nil, bytes.TrimSpace(file))
	if err != nil {
		return nil, false
	}
	key, err := ecdh.X25519().NewPrivateKey(raw)
	return key, err == nil
}

// Marshal returns the content of the file that keeps the key, a secret: PKCS#8
// in PEM for STATE/cfms-rsa.pem, 64 lower-case hex digits for STATE/cfms-x25519.
func (k *ServerKey) Marshal() ([]byte, error) {
	if k.method == MethodX25519 {
		return hex.AppendEncode(nil, k.x25519.Bytes()), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.rsa)
	if err != nil {
		return nil, fmt.Errorf("marshal a %q key: %w", k.method, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

// makeOffer makes step 4, which clients take with one read of 1024 bytes.
func (k *ServerKey) makeOffer() error {
	public := ""
	if k.method == MethodX25519 {
		public = hex.EncodeToString(k.x25519.PublicKey().Bytes())
	} else {
		der, err := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der})
		// Without a line end behind it, as ever: clients compare it with the one
		// they stored.
		public = string(bytes.TrimSuffix(text, []byte("\n")))
	}
	literal, err := json.Marshal(public)
	if err != nil {
		return err
	}
	k.offer = fmt.Appendf(nil, `{"msg": "enableEncryption", "method": "%s", "public_key": %s, "code": 0}`, k.method, literal)
	return nil
}

// answerSize is the length of the client's answer to the offer, step 5.
func (k *ServerKey) answerSize() int {
	if k.method == MethodX25519 {
		return x25519Size
	}
	return k.rsa.Size()
}

// agree opens step 5: the session key for rsa, for x25519 the shared secret, of
// which one that is all zeros is an error. What exactly was wrong is not told.
func (k *ServerKey) agree(answer []byte) (SessionKey, error) {
	var secret []byte
	var err error
	if k.method == MethodX25519 {
		var public *ecdh.PublicKey
		if public, err = ecdh.X25519().NewPublicKey(answer); err == nil {
			secret, err = k.x25519.ECDH(public)
		}
	} else {
		secret, err = rsa.DecryptOAEP(sha1.New(), nil, k.rsa, answer, nil)
	}
	if err != nil {
		return SessionKey{}, ErrKeyExchange
	}
	key, err := newSessionKey(secret)
	if err != nil {
		return SessionKey{}, ErrKeyExchange
	}
	return key, nil
}
