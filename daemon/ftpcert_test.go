package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failsToStart runs a daemon that should not start, and returns why it does not.
func failsToStart(t *testing.T, change func(*Config)) error {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Listen: "127.0.0.1:0",
		Reserve: -1, MinFree: 1, FTPListen: "127.0.0.1:0",
	}
	change(&cfg)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := Run(ctx, cfg)
	require.NoError(t, ctx.Err(), "it starts")
	require.Error(t, err)
	return err
}

// peerCert is the certificate a session shows, on either channel.
func (r *taskRig) peerCert() *x509.Certificate {
	r.t.Helper()
	c := r.ftpDial("")
	c.want(234, "AUTH TLS")
	conn := tls.Client(c.tcp, ftpClientTLS)
	require.NoError(r.t, conn.Handshake())
	return conn.ConnectionState().PeerCertificates[0]
}

func TestFTPCertificate(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	dir := filepath.Join(r.cfg.State, dirTLS)
	fi, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), fi.Mode().Perm())
	for _, name := range []string{fileFTPCert, fileFTPKey} {
		fi, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), fi.Mode().Perm(), name)
	}
	cert := r.peerCert()
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	require.True(t, ok)
	assert.Equal(t, elliptic.P256(), key.Curve)
	assert.WithinDuration(t, time.Now().AddDate(ftpCertYears, 0, 0), cert.NotAfter, time.Hour)
	require.NoError(t, cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature), "self-signed")

	r.again()
	assert.Equal(t, cert.Raw, r.peerCert().Raw, "clients may remember it")

	// A crash between the two files leaves the key: both are made anew.
	require.NoError(t, r.stop())
	require.NoError(t, os.Remove(filepath.Join(dir, fileFTPCert)))
	r.again()
	next := r.peerCert()
	assert.NotEqual(t, cert.Raw, next.Raw)

	// An operator's own.
	require.NoError(t, r.stop())
	own, private, err := newFTPCertificate("127.0.0.1", time.Now())
	require.NoError(t, err)
	r.cfg.FTPCert, r.cfg.FTPKey = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(r.cfg.FTPCert, own, 0o600))
	require.NoError(t, os.WriteFile(r.cfg.FTPKey, private, 0o600))
	r.again()
	third := r.peerCert()
	assert.NotEqual(t, next.Raw, third.Raw)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(own))
	_, err = third.Verify(x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1"})
	assert.NoError(t, err)
}

func TestFTPCertificateThatIsNone(t *testing.T) {
	t.Parallel()
	assert.ErrorIs(t, failsToStart(t, func(c *Config) { c.FTPCert = "cert.pem" }), ErrCreate)
	assert.ErrorIs(t, failsToStart(t, func(c *Config) { c.FTPCert, c.FTPKey = "nowhere.pem", "nowhere.pem" }), ErrCreate)
	err := failsToStart(t, func(c *Config) {
		dir := filepath.Join(c.State, dirTLS)
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.Chmod(c.State, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, fileFTPCert), []byte("no certificate"), 0o600))
	})
	assert.ErrorIs(t, err, ErrState)
}
