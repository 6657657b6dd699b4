package daemon

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"waybill/actions"
)

// ftpClient is a client made of nothing but its connections: it owns no
// goroutine.
type ftpClient struct {
	t    testing.TB
	addr string
	tcp  net.Conn // of the control connection
	conn net.Conn // tcp, or TLS over it
	in   *bufio.Reader
}

var ftpClientTLS = &tls.Config{InsecureSkipVerify: true} // self-signed, and made a moment ago

// ftpDial connects from an address of this machine, "" for any.
func (r *taskRig) ftpDial(from string) *ftpClient {
	r.t.Helper()
	c := r.ftpKnock(from)
	code, _ := c.reply()
	require.Equal(r.t, 220, code)
	return c
}

// ftpKnock connects and reads nothing.
func (r *taskRig) ftpKnock(from string) *ftpClient {
	r.t.Helper()
	c := &ftpClient{t: r.t, addr: r.listening["ftp"]}
	c.tcp = dialFrom(r.t, from, c.addr)
	c.conn, c.in = c.tcp, bufio.NewReader(c.tcp)
	return c
}

func dialFrom(t testing.TB, from, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// reply is the next answer; 0 if the connection has ended.
func (c *ftpClient) reply() (code int, text string) {
	c.t.Helper()
	require.NoError(c.t, c.tcp.SetReadDeadline(time.Now().Add(patience)))
	first := ""
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			require.NotErrorIs(c.t, err, os.ErrDeadlineExceeded, "no answer")
			return 0, err.Error()
		}
		text += line
		line = strings.TrimRight(line, "\r\n")
		if first == "" {
			require.Greater(c.t, len(line), 3, line)
			first = line[:3]
		}
		if strings.HasPrefix(line, first+" ") {
			code, err := strconv.Atoi(first)
			require.NoError(c.t, err, line)
			return code, text
		}
	}
}

func (c *ftpClient) send(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.conn, format+"\r\n", args...)
	require.NoError(c.t, err)
}

// cmd sends a command and returns its answer.
func (c *ftpClient) cmd(format string, args ...any) (int, string) {
	c.t.Helper()
	c.send(format, args...)
	return c.reply()
}

// want asserts the code of an answer.
func (c *ftpClient) want(code int, format string, args ...any) string {
	c.t.Helper()
	got, text := c.cmd(format, args...)
	require.Equal(c.t, code, got, "%s: %s", fmt.Sprintf(format, args...), text)
	return text
}

// encrypt puts TLS on the control connection.
func (c *ftpClient) encrypt() {
	c.t.Helper()
	c.want(234, "AUTH TLS")
	conn := tls.Client(c.tcp, ftpClientTLS)
	require.NoError(c.t, conn.Handshake())
	c.conn, c.in = conn, bufio.NewReader(conn)
}

// ftp is a client that has logged in for a task.
func (r *taskRig) ftp(o *actions.TaskOpened) *ftpClient {
	r.t.Helper()
	c := r.ftpDial("")
	c.encrypt()
	c.want(200, "PBSZ 0")
	c.want(200, "PROT P")
	c.want(331, "USER %s", o.ID)
	c.want(230, "PASS %s", o.Token)
	c.want(200, "TYPE I")
	return c
}

// login tries to.
func (r *taskRig) login(id, token string) int {
	r.t.Helper()
	c := r.ftpDial("")
	defer c.tcp.Close()
	c.encrypt()
	c.want(331, "USER %s", id)
	code, _ := c.cmd("PASS %s", token)
	return code
}

// epsv is where the next data connection goes.
func (c *ftpClient) epsv() string {
	c.t.Helper()
	text := c.want(229, "EPSV")
	port := strings.Split(text[strings.Index(text, "(|||")+4:], "|")[0]
	host, _, err := net.SplitHostPort(c.addr)
	require.NoError(c.t, err)
	return net.JoinHostPort(host, port)
}

// pasv is the same in the older form.
func (c *ftpClient) pasv() string {
	c.t.Helper()
	text := c.want(227, "PASV")
	f := strings.Split(text[strings.Index(text, "(")+1:strings.Index(text, ")")], ",")
	require.Len(c.t, f, 6)
	hi, err := strconv.Atoi(f[4])
	require.NoError(c.t, err)
	lo, err := strconv.Atoi(f[5])
	require.NoError(c.t, err)
	return net.JoinHostPort(strings.Join(f[:4], "."), strconv.Itoa(hi<<8|lo))
}

// ftpTransfer is a data connection of a client.
type ftpTransfer struct {
	tcp *net.TCPConn
	tls *tls.Conn
}

// begin opens a data connection for a command, and encrypts it.
func (c *ftpClient) begin(format string, args ...any) *ftpTransfer {
	c.t.Helper()
	d := c.open(format, args...)
	require.NoError(c.t, d.tls.Handshake())
	return d
}

// open is begin without the handshake.
func (c *ftpClient) open(format string, args ...any) *ftpTransfer {
	c.t.Helper()
	tcp := dialFrom(c.t, "", c.epsv()).(*net.TCPConn)
	c.want(150, format, args...)
	require.NoError(c.t, tcp.SetDeadline(time.Now().Add(patience)))
	return &ftpTransfer{tcp, tls.Client(tcp, ftpClientTLS)}
}

// fin ends the data as shipped clients do: the connection is closed under TLS.
func (d *ftpTransfer) fin() error { return d.tcp.Close() }

// reset ends it as a broken line does.
func (d *ftpTransfer) reset() error {
	if err := d.tcp.SetLinger(0); err != nil {
		return err
	}
	return d.tcp.Close()
}

// put stores data with a command, and returns the answer.
func (c *ftpClient) put(data []byte, format string, args ...any) int {
	c.t.Helper()
	d := c.begin(format, args...)
	_, err := d.tls.Write(data)
	require.NoError(c.t, err)
	require.NoError(c.t, d.fin())
	code, _ := c.reply()
	return code
}

// get reads what a command sends, and returns it with the answer.
func (c *ftpClient) get(format string, args ...any) (string, int) {
	c.t.Helper()
	d := c.begin(format, args...)
	data, err := io.ReadAll(d.tls)
	require.NoError(c.t, err)
	require.NoError(c.t, d.tls.Close())
	code, _ := c.reply()
	return string(data), code
}
