package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
)

// benchFTP is a client of FTPS that has logged in for a task.
type benchFTP struct {
	control *textproto.Conn
	host    string
	tls     *tls.Config
	unwatch func() bool
}

// ftps connects for a task to the FTPS of an own daemon, whose certificate must be
// the one in its folder.
func (d *benchDaemon) ftps(ctx context.Context, t *benchTask) (_ *benchFTP, err error) {
	pem, err := os.ReadFile(filepath.Join(d.state, "tls", "ftp-cert.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	host, _, err := net.SplitHostPort(d.ftp)
	if err != nil {
		return nil, err
	}
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", d.ftp)
	if err != nil {
		return nil, err
	}
	c := &benchFTP{control: textproto.NewConn(tcp), host: host, tls: &tls.Config{RootCAs: pool, ServerName: host}}
	c.unwatch = context.AfterFunc(ctx, func() { _ = tcp.Close() })
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if _, _, err := c.control.ReadResponse(220); err != nil {
		return nil, err
	}
	if _, err := c.cmd(234, "AUTH TLS"); err != nil {
		return nil, err
	}
	c.control = textproto.NewConn(tls.Client(tcp, c.tls))
	for _, step := range []struct {
		code int
		text string
	}{{200, "PBSZ 0"}, {200, "PROT P"}, {331, "USER " + t.id}, {230, "PASS " + t.token}, {200, "TYPE I"}} {
		if _, err := c.cmd(step.code, step.text); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// close ends the connection without a word, as clients do that are done.
func (c *benchFTP) close() {
	c.unwatch()
	_ = c.control.Close() // there is no command without its answer
}

// cmd sends a command, whose answer must have the code. The command stays out of
// the error: it may be a password.
func (c *benchFTP) cmd(code int, text string) (string, error) {
	if err := c.control.PrintfLine("%s", text); err != nil {
		return "", err
	}
	_, answer, err := c.control.ReadResponse(code)
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Fields(text)[0], err)
	}
	return answer, nil
}

// transfer does a command with a data connection.
func (c *benchFTP) transfer(ctx context.Context, command string, do func(io.ReadWriter) error) error {
	answer, err := c.cmd(229, "EPSV")
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(answer, "(|||")
	port, _, _ = strings.Cut(port, "|")
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(c.host, port))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = tcp.Close() })()
	if _, err := c.cmd(150, command); err != nil {
		return errors.Join(err, tcp.Close())
	}
	data := tls.Client(tcp, c.tls)
	err = do(data)
	if err := errors.Join(err, data.Close()); err != nil {
		return err
	}
	_, _, err = c.control.ReadResponse(226)
	return err
}
