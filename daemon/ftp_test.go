package daemon

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
)

// A desktop client's way (CFMS.md §9): EPSV or PASV, TYPE I, 50,000 bytes ended
// by FIN without close_notify, and the same bytes back through another task.
func TestFTPUploadAndDownload(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(50_000)
	for _, mode := range []string{"EPSV", "PASV"} {
		o := r.create()
		c := r.ftp(o)
		addr := c.epsv()
		if mode == "PASV" {
			addr = c.pasv()
		}
		tcp := dialFrom(t, "", addr)
		c.want(150, "STOR %s", o.FakeName)
		_, err := tls.Client(tcp, ftpClientTLS).Write(data)
		require.NoError(t, err)
		require.NoError(t, tcp.Close())
		code, text := c.reply()
		require.Equal(t, 226, code, text)
		c.want(221, "QUIT")
		r.shows(o, data)

		back := r.read(o)
		c = r.ftp(back)
		got, code := c.get("RETR %s", back.FakeName)
		assert.Equal(t, 226, code)
		assert.Equal(t, string(data), got)
	}
}

// Nothing works in clear.
func TestFTPInClear(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.create()
	for _, tc := range []struct {
		line string
		code int
		text string
	}{
		{"USER " + o.ID, 550, "SSL/TLS required on the control channel."},
		{"PASS " + o.Token, 550, "SSL/TLS required on the control channel."},
		{"PBSZ 0", 503, ""},
		{"PROT P", 503, ""},
		{"AUTH SSL", 504, ""},
		{"AUTH", 504, ""},
		{"PASV", 530, ""},
		{"STOR " + o.FakeName, 530, ""},
		{"LIST", 530, ""},
		{"STAT", 530, ""},
		{"FEAT", 211, "AUTH TLS"},
		{"SYST", 215, ""},
		{"NOOP", 200, ""},
		{"OPTS UTF8 ON", 200, ""},
		{"OPTS HASH MD5", 501, ""},
		{"QUIT", 221, ""},
	} {
		c := r.ftpDial("")
		code, text := c.cmd("%s", tc.line)
		assert.Equal(t, tc.code, code, tc.line)
		assert.Contains(t, text, tc.text)
	}

	// What somebody put before the handshake is not taken for the client's.
	c := r.ftpDial("")
	_, err := c.tcp.Write([]byte("AUTH TLS\r\nNOOP\r\n"))
	require.NoError(t, err)
	code, _ := c.reply()
	require.Equal(t, 234, code)
	code, _ = c.reply()
	assert.Zero(t, code)

	// The data channel, too.
	c = r.ftpDial("")
	c.encrypt()
	c.want(503, "AUTH TLS")
	c.want(534, "PROT C")
	c.want(536, "PROT S")
	c.want(504, "PROT X")
	c.want(331, "USER %s", o.ID)
	c.want(230, "PASS %s", o.Token)
	for _, line := range []string{"PASV", "EPSV"} {
		assert.Contains(t, c.want(550, "%s", line), "SSL/TLS required on the data channel.")
	}
	c.want(200, "PROT P")
	tcp := dialFrom(t, "", c.epsv())
	c.want(150, "STOR %s", o.FakeName)
	_, err = tcp.Write([]byte("these bytes are no TLS record at all"))
	require.NoError(t, err)
	code, _ = c.reply()
	assert.Equal(t, 426, code)
	r.keeps(o, nil, nil)
}

func TestFTPVersionsOfTLS(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c := r.ftpDial("")
		c.want(234, "AUTH TLS")
		cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
		err := tls.Client(c.tcp, cfg).Handshake()
		assert.Equal(t, ok, err == nil, "%x: %v", version, err)
	}
	// An upload over the older one, too.
	o := r.create()
	c := r.ftp(o)
	d := c.open("STOR %s", o.FakeName)
	d.tls = tls.Client(d.tcp, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	_, err := d.tls.Write([]byte("twelve"))
	require.NoError(t, err)
	require.NoError(t, d.fin())
	code, text := c.reply()
	require.Equal(t, 226, code, text)
	r.shows(o, []byte("twelve"))
}

// Whatever is wrong with a login, the answer is the same, and so is when it
// comes.
func TestFTPLogin(t *testing.T) {
	t.Parallel()
	const late = 200 * time.Millisecond
	r := runTasks(t, func(c *Config) { c.FTPTimes.Refuse = late })
	data := []byte("x")
	finished := r.read(r.stored(data))
	c := r.ftp(finished)
	_, code := c.get("RETR %s", finished.FakeName)
	require.Equal(t, 226, code)
	published := r.stored(data)
	superseded := r.create()
	r.write(superseded)
	deleted := r.create()
	r.mustDoc("admin", docFile(deleted.Key, "delete"))
	purged := r.create()
	r.mustDoc("admin", docFile(purged.Key, "permanently_delete"))
	readOfPurged := r.read(r.stored(data))
	r.mustDoc("admin", docFile(readOfPurged.Key, "permanently_delete"))
	r.user("bob")
	id := "bobs"
	disabled := r.mustDoc("bob", &actions.CreateFile{HasData: true, NewFile: doctree.NewFile{FileID: &id}}).(*actions.TaskOpened)
	bob := "bob"
	r.mustDoc("admin", &actions.OperateUser{UserOp: acl.UserOp{Action: "set_status", Username: &bob, Status: json.RawMessage("1")}})
	good := r.create()
	for name, tc := range map[string]struct{ id, token string }{
		"unknown task":     {strings.Repeat("ab", 64), good.Token},
		"no task id":       {"anonymous", "me@here"},
		"wrong token":      {good.ID, strings.Repeat("ab", 32)},
		"another's token":  {good.ID, published.Token},
		"no token":         {good.ID, ""},
		"read to its end":  {finished.ID, finished.Token},
		"published":        {published.ID, published.Token},
		"superseded":       {superseded.ID, superseded.Token},
		"target deleted":   {deleted.ID, deleted.Token},
		"target gone":      {purged.ID, purged.Token},
		"read target gone": {readOfPurged.ID, readOfPurged.Token},
		"user disabled":    {disabled.ID, disabled.Token},
	} {
		c := r.ftpDial("")
		c.encrypt()
		c.want(331, "USER %s", tc.id)
		began := time.Now()
		text := c.want(530, "PASS %s", tc.token)
		assert.GreaterOrEqual(t, time.Since(began), late, name)
		assert.Equal(t, "530 Authentication failed.\r\n", text, name)
		_ = c.tcp.Close()
	}
	assert.Equal(t, 3, r.refused(good, acl.CodeTaskUnknown))
	assert.Equal(t, 1, r.refused(published, acl.CodeTaskGone))
	assert.Equal(t, 230, r.login(good.ID, good.Token))

	r.clock.advance(time.Hour)
	assert.Equal(t, 530, r.login(good.ID, good.Token), "expired")

	// The order of commands.
	c = r.ftpDial("")
	c.encrypt()
	c.want(503, "PASS x")
	c.want(501, "USER")
	c.want(530, "PWD")
	other := r.create()
	c.want(331, "USER %s", other.ID)
	c.want(230, "PASS %s", other.Token)
	c.want(503, "USER %s", other.ID)
	c.want(503, "PASS %s", other.Token)
	c.want(503, "AUTH TLS")
}

func TestFTPThreeTries(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.create()
	c := r.ftpDial("")
	c.encrypt()
	for range maxFTPTries {
		c.want(331, "USER %s", o.ID)
		c.want(530, "PASS wrong")
	}
	code, _ := c.reply()
	assert.Equal(t, 421, code)
	code, _ = c.reply()
	assert.Zero(t, code, "closed")
	// Two wrong ones do not count against the third.
	c = r.ftpDial("")
	c.encrypt()
	for range maxFTPTries - 1 {
		c.want(331, "USER %s", o.ID)
		c.want(530, "PASS wrong")
	}
	c.want(331, "USER %s", o.ID)
	c.want(230, "PASS %s", o.Token)
}

func TestFTPCommands(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.create()
	c := r.ftp(o)
	for _, tc := range []struct {
		line string
		code int
		text string
	}{
		{"PWD", 257, `"/"`}, {"XPWD", 257, `"/"`}, {"CWD /", 250, ""}, {"CWD /nowhere", 550, "No such file."},
		{"CWD " + o.FakeName, 550, ""}, {"CDUP", 250, ""}, {"XCUP", 250, ""},
		{"TYPE A", 200, ""}, {"TYPE A N", 200, ""}, {"TYPE I", 200, ""}, {"TYPE E", 504, ""},
		{"MODE S", 200, ""}, {"mode s", 200, ""}, {"MODE B", 504, ""}, {"MODE Z", 504, ""},
		{"STRU F", 200, ""}, {"STRU R", 504, ""},
		{"SYST", 215, "UNIX"}, {"FEAT", 211, "REST STREAM"}, {"OPTS UTF8 ON", 200, ""}, {"NOOP", 200, ""},
		{"ABOR", 226, ""}, {"\xff\xf4\xff\xf2ABOR", 226, ""}, {"PBSZ 0", 200, ""}, {"EPSV ALL", 200, ""},
		{"REST 0", 350, ""}, {"REST x", 550, ""}, {"ALLO 5", 200, ""}, {"ALLO 5 R 10", 200, ""}, {"ALLO x", 501, ""}, {"ALLO -1", 501, ""},
		{"PORT 127,0,0,1,4,5", 502, ""}, {"EPRT |1|127.0.0.1|1029|", 502, ""}, {"STOU", 502, ""},
		{"MFMT 20200101000000 " + o.FakeName, 502, ""}, {"DELE " + o.FakeName, 502, ""}, {"RNFR " + o.FakeName, 502, ""},
		{"RNTO x", 502, ""}, {"MKD x", 502, ""}, {"XMKD x", 502, ""}, {"RMD x", 502, ""}, {"XRMD x", 502, ""},
		{"SITE CHMOD 777 x", 502, ""}, {"SITE", 502, ""}, {"STAT", 502, ""}, {"STAT /", 502, ""}, {"HASH x", 502, ""},
		{"COMB a b", 502, ""}, {"REIN", 502, ""}, {"CCC", 502, ""},
		{"XSHA256 " + o.FakeName, 500, ""}, {"FOO", 500, ""}, {"", 500, ""}, {"STOR \x1e226 x", 501, ""},
		{"STOR " + o.FakeName, 425, ""}, {"LIST", 425, ""}, // without a data connection
	} {
		code, text := c.cmd("%s", tc.line)
		assert.Equal(t, tc.code, code, "%s: %s", tc.line, text)
		assert.Contains(t, text, tc.text, tc.line)
	}
	features := c.want(211, "FEAT")
	for _, line := range strings.Split(strings.TrimSpace(features), "\r\n")[1:] {
		assert.True(t, line[0] == ' ' || line == "211 End", line)
	}
	assert.NotContains(t, features, "EPRT")

	c.send("NOOP %s", strings.Repeat("x", maxFTPLine))
	code, _ := c.reply()
	assert.Equal(t, 500, code)
	code, _ = c.reply()
	assert.Zero(t, code)
	r.keeps(o, nil, nil)
}

// Commands that wait for their turn are answered in it.
func TestFTPCommandsSentAhead(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.create()
	c := r.ftp(o)
	d := c.begin("STOR %s", o.FakeName)
	_, err := fmt.Fprintf(c.conn, "FOO\r\nFEAT\r\nNOOP\r\nALLO 3\r\nSIZE %s\r\n", o.FakeName)
	require.NoError(t, err)
	_, err = d.tls.Write([]byte("bytes"))
	require.NoError(t, err)
	require.NoError(t, d.fin())
	for _, want := range []int{226, 500, 211, 200, 200, 213} {
		code, text := c.reply()
		assert.Equal(t, want, code, text)
	}
}

func TestFTPTooManyConnections(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	all := make([]*ftpClient, maxFTP)
	for i := range all {
		all[i] = r.ftpDial("")
	}
	one := r.ftpKnock("")
	code, _ := one.reply()
	assert.Equal(t, 421, code)
	code, _ = one.reply()
	assert.Zero(t, code)
	all[0].want(221, "QUIT")
	require.True(t, soon(func() bool {
		next := r.ftpKnock("")
		code, _ := next.reply()
		_ = next.tcp.Close()
		return code == 220
	}))
	for _, c := range all {
		_ = c.tcp.Close()
	}
}

func TestFTPTimesOut(t *testing.T) {
	t.Parallel()
	t.Run("no login", func(t *testing.T) {
		r := runTasks(t, func(c *Config) { c.LoginWithin = 500 * time.Millisecond })
		c := r.ftpDial("")
		code, _ := c.reply()
		assert.Equal(t, 421, code)
		code, _ = c.reply()
		assert.Zero(t, code)
	})
	t.Run("a login in drops", func(t *testing.T) {
		r := runTasks(t, func(c *Config) { c.LoginWithin = 500 * time.Millisecond })
		c := r.ftpDial("")
		// Commands do not put the end off.
		require.True(t, soon(func() bool {
			_, _ = c.conn.Write([]byte("NOOP\r\n")) // it is closed at some time
			code, _ := c.reply()
			return code == 421 || code == 0
		}))
	})
	t.Run("a handshake that does not end", func(t *testing.T) {
		r := runTasks(t, func(c *Config) { c.LoginWithin = 500 * time.Millisecond })
		c := r.ftpDial("")
		c.want(234, "AUTH TLS")
		code, _ := c.reply()
		assert.Zero(t, code)
	})
	t.Run("no command", func(t *testing.T) {
		r := runTasks(t, func(c *Config) { c.FTPTimes.Idle = time.Second })
		c := r.ftp(r.create())
		code, _ := c.reply()
		assert.Equal(t, 421, code)
		code, _ = c.reply()
		assert.Zero(t, code)
	})
	t.Run("but not in a transfer", func(t *testing.T) {
		const idle = time.Second
		r := runTasks(t, func(c *Config) { c.FTPTimes.Idle = idle })
		o := r.create()
		c := r.ftp(o)
		d := c.begin("STOR %s", o.FakeName)
		for range 3 { // longer than the silence that ends a session
			_, err := d.tls.Write([]byte("x"))
			require.NoError(t, err)
			time.Sleep(idle / 2)
		}
		require.NoError(t, d.fin())
		code, text := c.reply()
		assert.Equal(t, 226, code, text)
		c.want(200, "NOOP")
		r.shows(o, []byte("xxx"))
	})
}

func TestFTPPassive(t *testing.T) {
	t.Run("host and ports", func(t *testing.T) {
		lo := freePort(t)
		r := runTasks(t, func(c *Config) { c.FTPPassiveHost, c.FTPPassivePorts = "127.0.0.1", [2]int{lo, lo} })
		o := r.create()
		c := r.ftp(o)
		assert.Equal(t, fmt.Sprintf("127.0.0.1:%d", lo), c.pasv())
		assert.Equal(t, 226, c.put([]byte("x"), "STOR %s", o.FakeName))
		// The one port is free again.
		c = r.ftp(r.write(o))
		c.pasv()
	})
	t.Run("PASV over IPv6", func(t *testing.T) {
		if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
			t.Skip("this machine has no IPv6 loopback")
		} else {
			require.NoError(t, ln.Close())
		}
		r := runTasks(t, func(c *Config) { c.FTPListen = "[::1]:0" })
		o := r.create()
		c := r.ftp(o)
		c.want(425, "PASV")
		assert.Equal(t, 226, c.put([]byte("x"), "STOR %s", o.FakeName))
	})
	for name, change := range map[string]func(*Config){
		"a host that is a name": func(c *Config) { c.FTPPassiveHost = "example.org" },
		"ports upside down":     func(c *Config) { c.FTPPassivePorts = [2]int{2000, 1000} },
		"a port of zero":        func(c *Config) { c.FTPPassivePorts = [2]int{0, 1000} },
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorIs(t, failsToStart(t, change), ErrCreate)
		})
	}
}

// freePort is one at which nobody listens. It is below those that the system gives
// to whoever asks for any, of which it might be another's when it is used.
func freePort(t testing.TB) int {
	t.Helper()
	for port := 10_000 + os.Getpid()%10_000; port < 30_000; port++ {
		ln, err := net.Listen("tcp", fmt.Sprint(":", port))
		if err == nil {
			require.NoError(t, ln.Close())
			return port
		}
		require.ErrorIs(t, err, unix.EADDRINUSE)
	}
	require.Fail(t, "every port is taken")
	return 0
}

// syncBuffer is a log that goroutines write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Not even a log of everything, nor the journal, has a token in it.
func TestFTPKeepsTokensToItself(t *testing.T) {
	t.Parallel()
	log := new(syncBuffer)
	r := runTasks(t, func(c *Config) { c.Logger = zerolog.New(log).Level(zerolog.TraceLevel) })
	o := r.create()
	c := r.ftpDial("")
	c.encrypt()
	c.want(331, "USER %s", o.ID)
	c.want(530, "PASS wrong-%s", o.Token)
	c = r.ftp(o)
	require.Equal(t, 226, c.put([]byte("x"), "STOR %s", o.FakeName))
	c.want(550, "SIZE %s", o.Token)
	code, _, _ := r.http("HEAD", o, "")
	require.Equal(t, 200, code)
	code, _, _ = r.http("GET", r.read(o), "")
	require.Equal(t, 200, code)
	require.NotEmpty(t, r.records())
	_, journal, _ := r.do("GET", "/journal", "", "Authorization", "Bearer "+r.token)
	require.NoError(t, r.stop())
	assert.Contains(t, log.String(), `"listener":"ftp"`)
	assert.NotContains(t, log.String(), o.Token)
	assert.NotContains(t, journal, o.Token)
	assert.Contains(t, journal, `"via":"ftps 127.0.0.1:`)
	assert.Contains(t, journal, `"via":"http 127.0.0.1:`)
}
