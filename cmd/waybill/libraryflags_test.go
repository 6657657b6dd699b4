package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/daemon"
)

// libraryConfig is what the flags of serve come to.
func libraryConfig(t *testing.T, args []string, env map[string]string) (daemon.Config, error) {
	t.Helper()
	c, err := parsed(t, args, env)
	if err != nil {
		return daemon.Config{}, err
	}
	var cfg daemon.Config
	err = c.config(&cfg)
	return cfg, err
}

// passwordFile makes a file with text.
func passwordFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestLibraryFlags(t *testing.T) {
	t.Parallel()
	got, err := libraryConfig(t, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, daemon.Config{
		CFMSKeyExchange: "rsa", CFMSMaxConns: 256, TimestampWindow: 300 * time.Second,
		PurgeEvery: 10 * time.Minute, ShutdownGrace: 3 * time.Second,
	}, got, "defaults")

	got, err = libraryConfig(t, []string{
		"--cfms-listen", ":5103", "--cfms-key-exchange", "x25519", "--cfms-max-connections", "7",
		"--cfms-timestamp-window", "1m", "--cfms-hide-no-access=false", "--cfms-rotate-token-secret",
		"--ftp-listen", ":5104", "--ftp-cert", "c.pem", "--ftp-key", "k.pem", "--ftp-passive-host", "203.0.113.7",
		"--ftp-passive-ports", "50000-50099", "--admin-password", "123456", "--sample-data",
		"--purge-interval", "1h", "--shutdown-grace", "500ms",
	}, nil)
	require.NoError(t, err)
	assert.Equal(t, daemon.Config{
		CFMSListen: ":5103", CFMSKeyExchange: "x25519", CFMSMaxConns: 7, TimestampWindow: time.Minute,
		ShowNoAccess: true, RotateTokenSecret: true,
		FTPListen: ":5104", FTPCert: "c.pem", FTPKey: "k.pem", FTPPassiveHost: "203.0.113.7",
		FTPPassivePorts: [2]int{50000, 50099}, AdminPassword: "123456", SampleData: true,
		PurgeEvery: time.Hour, ShutdownGrace: 500 * time.Millisecond,
	}, got)

	// The daemon takes 0 for its default; here it means none.
	got, err = libraryConfig(t, []string{"--cfms-timestamp-window", "0", "--purge-interval", "0s", "--shutdown-grace", "0"}, nil)
	require.NoError(t, err)
	assert.Negative(t, got.TimestampWindow)
	assert.Negative(t, got.PurgeEvery)
	assert.Negative(t, got.ShutdownGrace)
}

func TestLibraryFlagPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "waybill.toml")
	require.NoError(t, os.WriteFile(file, []byte(`cfms-listen = "file:1"
ftp-listen = "file:2"
ftp-passive-ports = "1-2"
cfms-hide-no-access = false
sample-data = true
admin-password = "file"
`), 0o600))
	env := map[string]string{"WAYBILL_FTP_LISTEN": "env:2", "WAYBILL_FTP_PASSIVE_PORTS": "3-4", "WAYBILL_CONFIG": file}
	got, err := libraryConfig(t, []string{"--ftp-passive-ports", "5-6"}, env)
	require.NoError(t, err)
	assert.Equal(t, "file:1", got.CFMSListen, "file over default")
	assert.Equal(t, "env:2", got.FTPListen, "environment over file")
	assert.Equal(t, [2]int{5, 6}, got.FTPPassivePorts, "flag over environment")
	assert.True(t, got.ShowNoAccess)
	assert.True(t, got.SampleData)
	assert.Equal(t, "file", got.AdminPassword)

	env["WAYBILL_CFMS_HIDE_NO_ACCESS"], env["WAYBILL_SAMPLE_DATA"], env["WAYBILL_ADMIN_PASSWORD"] = "true", "false", "env"
	got, err = libraryConfig(t, nil, env)
	require.NoError(t, err)
	assert.False(t, got.ShowNoAccess)
	assert.False(t, got.SampleData)
	assert.Equal(t, "env", got.AdminPassword)

	got, err = libraryConfig(t, []string{"--admin-password-file", passwordFile(t, "flag\n")}, env)
	require.NoError(t, err)
	assert.Equal(t, "flag", got.AdminPassword, "one on the command line beats the other kind elsewhere")
}

// What is wrong, with what exit code; and a password is in no error.
func TestBadLibraryFlags(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	long := strings.Repeat("ä", 1025)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"key exchange":           {[]string{"--cfms-key-exchange", "dh"}, exitUsage, "--cfms-key-exchange"},
		"no connections":         {[]string{"--cfms-max-connections", "0"}, exitUsage, "at least 1"},
		"window":                 {[]string{"--cfms-timestamp-window=-1s"}, exitUsage, "at least 0s"},
		"no duration":            {[]string{"--purge-interval", "10"}, exitUsage, "--purge-interval"},
		"grace":                  {[]string{"--shutdown-grace", "1m"}, exitUsage, "at most 6s"},
		"hide":                   {[]string{"--cfms-hide-no-access=maybe"}, exitUsage, "bool"},
		"certificate alone":      {[]string{"--ftp-cert", "c"}, exitUsage, "together"},
		"key alone":              {[]string{"--ftp-key", "k"}, exitUsage, "together"},
		"host name":              {[]string{"--ftp-passive-host", "localhost"}, exitUsage, "IPv4"},
		"IPv6":                   {[]string{"--ftp-passive-host", "::1"}, exitUsage, "IPv4"},
		"everywhere":             {[]string{"--ftp-passive-host", "0.0.0.0"}, exitUsage, "IPv4"},
		"one port":               {[]string{"--ftp-passive-ports", "5000"}, exitUsage, "range of ports"},
		"ports backwards":        {[]string{"--ftp-passive-ports", "6000-5000"}, exitUsage, "range of ports"},
		"port 0":                 {[]string{"--ftp-passive-ports", "0-10"}, exitUsage, "range of ports"},
		"port too high":          {[]string{"--ftp-passive-ports", "60000-65536"}, exitUsage, "range of ports"},
		"two passwords":          {[]string{"--admin-password", secret, "--admin-password-file", "f"}, exitUsage, "together"},
		"empty password":         {[]string{"--admin-password", ""}, exitUsage, "--admin-password: the password is empty"},
		"long password":          {[]string{"--admin-password", secret + long}, exitUsage, "longer than 1024"},
		"password of no UTF-8":   {[]string{"--admin-password", secret + "\xff"}, exitUsage, "not valid UTF-8"},
		"no password file":       {[]string{"--admin-password-file", "/nowhere"}, exitConfig, "--admin-password-file: open /nowhere"},
		"empty password file":    {[]string{"--admin-password-file", passwordFile(t, "\r\n")}, exitUsage, "the password is empty"},
		"long password file":     {[]string{"--admin-password-file", passwordFile(t, secret+long)}, exitUsage, "longer than 1024"},
		"huge password file":     {[]string{"--admin-password-file", passwordFile(t, secret+strings.Repeat("x", 1<<20))}, exitUsage, "longer than 1024"},
		"password file no UTF-8": {[]string{"--admin-password-file", passwordFile(t, secret+"\xff")}, exitUsage, "not valid UTF-8"},
	} {
		_, err := libraryConfig(t, c.args, nil)
		if assert.Error(t, err, name) {
			assert.Equal(t, c.code, exitCode(err), name)
			assert.Contains(t, err.Error(), c.says, name)
			assert.NotContains(t, err.Error(), secret, name)
		}
	}

	for name, text := range map[string]string{
		"without quotes": "admin-password = hunter2",
		"in a list":      "sample-data = true\nadmin-password = [hunter2]",
		"open":           "admin-password = \"hunter2",
		"a number":       "admin-password = 0x10",
		"a table":        "[admin-password]\nx = \"hunter2\"",
		"twice":          "admin-password = \"hunter2\"\nadmin-password = \"hunter3\"",
		"bool":           "cfms-hide-no-access = \"maybe\"",
		"range":          "ftp-passive-ports = \"2-1\"",
		"window":         "cfms-timestamp-window = \"-1s\"",
		"key exchange":   "cfms-key-exchange = \"dh\"",
	} {
		file := filepath.Join(t.TempDir(), "waybill.toml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := libraryConfig(t, []string{"--config", file}, nil)
		if assert.Error(t, err, name) {
			assert.Equal(t, exitConfig, exitCode(err), "%s: %v", name, err)
			assert.NotContains(t, err.Error(), "hunt", name)
		}
	}
}

func TestReadPassword(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"123456":                         "123456",
		"123456\n":                       "123456",
		"123456\r\n":                     "123456",
		"123456\n\n":                     "123456\n",
		" 123 456 ":                      " 123 456 ",
		"\n123456":                       "\n123456",
		strings.Repeat("😀", 1024) + "\n": strings.Repeat("😀", 1024),
	} {
		got, err := readPassword("password file", passwordFile(t, text))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	assert.Equal(t, "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92", loginProof("123456"), "CFMS.md §10")
}

func TestGreeting(t *testing.T) {
	t.Parallel()
	c := serveCmd{Root: "r", State: t.TempDir()}
	var out bytes.Buffer
	c.greet(&out, "127.0.0.1:1", nil)
	assert.Contains(t, out.String(), "ws://127.0.0.1:1/api/v1\n")
	assert.Contains(t, out.String(), "ws://127.0.0.1:1/cfms/v1\n")
	assert.NotContains(t, out.String(), "ftps")
	assert.NotContains(t, out.String(), "admin", "whose password was changed")

	out.Reset()
	first := filepath.Join(c.State, "admin-password")
	require.NoError(t, os.WriteFile(first, []byte("hunter2"), 0o600))
	c.greet(&out, "127.0.0.1:1", []listener{{"cfms", "127.0.0.1:5103"}, {"ftp", "[::]:5104"}})
	assert.Regexp(t, `(?m)^  cfms at +127\.0\.0\.1:5103$`, out.String())
	assert.Regexp(t, `(?m)^  ftps at +\[::\]:5104$`, out.String())
	assert.Contains(t, out.String(), first)
	assert.NotContains(t, out.String(), "hunter2")
}
