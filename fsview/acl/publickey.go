package acl

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
)

// goodPublicKey tells whether text is one RSA public key in PEM, of 1024 to
// 16384 bits, and nothing else: it is kept and handed out as it is.
func goodPublicKey(text string) bool {
	const begin = "-----BEGIN "
	if len(text) > maxKeyText {
		return false
	}
	// The decoder passes over what stands in front of a block and what is none.
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, begin) || strings.Count(text, begin) > 1 {
		return false
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(block.Headers) > 0 || strings.TrimSpace(string(rest)) != "" {
		return false
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return false
	}
	pub, ok := key.(*rsa.PublicKey)
	return err == nil && ok && pub.N.BitLen() >= minKeyBits && pub.N.BitLen() <= maxKeyBits
}
