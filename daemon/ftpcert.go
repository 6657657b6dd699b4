package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"waybill/fsview"
)

// The certificate made at first start.
const (
	fileFTPCert = "ftp-cert.pem"
	fileFTPKey  = "ftp-key.pem"

	ftpCertYears = 10
	// ftpCertEarly is how long before it was made a certificate is valid: clocks
	// of clients differ.
	ftpCertEarly = 24 * time.Hour
)

// ftpTLS is how both channels are encrypted.
func ftpTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// A client that only sends may leave a ticket unread when it closes. Its
		// kernel then resets the connection, and that is no end of file.
		SessionTicketsDisabled: true,
		// These are bulk transfers: small first records only cost.
		DynamicRecordSizingDisabled: true,
	}
}

// ftpCertificate is the one an operator has named, or the one made at first
// start. Clients may remember it, so it is not made anew.
func (s *stateDir) ftpCertificate(certFile, keyFile, host string) (tls.Certificate, error) {
	if (certFile == "") != (keyFile == "") {
		return tls.Certificate{}, errors.New("a certificate for FTPS needs its key, and a key its certificate")
	}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return pair, fmt.Errorf("certificate for FTPS: %w", err)
		}
		return pair, nil
	}
	certFile, keyFile = filepath.Join(dirTLS, fileFTPCert), filepath.Join(dirTLS, fileFTPKey)
	cert, err := s.read(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := s.read(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if cert == nil { // a key alone is from a start that was cut short
		if cert, key, err = s.makeFTPCertificate(certFile, keyFile, host); err != nil {
			return tls.Certificate{}, err
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("%w: %s and %s: %w", ErrState, certFile, keyFile, err)
	}
	return pair, nil
}

// makeFTPCertificate writes the certificate last: it says that there is a key.
func (s *stateDir) makeFTPCertificate(certFile, keyFile, host string) (cert, key []byte, err error) {
	if err := fsview.MakeDir(s.path(dirTLS), 0o700); err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrCreate, dirTLS, err)
	}
	if cert, key, err = newFTPCertificate(host, time.Now()); err != nil {
		return nil, nil, err
	}
	if err := s.write(keyFile, key); err != nil {
		return nil, nil, err
	}
	return cert, key, s.write(certFile, cert)
}

// newFTPCertificate makes a self-signed certificate and its key, both in PEM.
func newFTPCertificate(host string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key for FTPS: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for FTPS: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "waybill"},
		NotBefore:             now.Add(-ftpCertEarly),
		NotAfter:              now.AddDate(ftpCertYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for FTPS: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key for FTPS: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
