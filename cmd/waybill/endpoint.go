package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// The WebSocket endpoints of a daemon.
const (
	panelPath    = "/api/v1"
	documentPath = "/cfms/v1"
)

// endpoint is where a daemon listens: the address without /api/v1 or /cfms/v1,
// with the scheme http or https.
type endpoint struct{ base string }

// UnmarshalText implements encoding.TextUnmarshaler. It takes the ws, wss,
// http and https forms, with or without /api/v1 or /cfms/v1 at the end.
func (e *endpoint) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*e = endpoint{}
		return nil
	}
	const forms = "must begin with ws://, wss://, http:// or https://"
	if !strings.Contains(string(text), "://") {
		return errors.New(forms) // url.Parse finds other words for HOST:PORT
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return errors.Unwrap(err)
	}
	switch u.Scheme {
	case "ws", "http":
		u.Scheme = "http"
	case "wss", "https":
		u.Scheme = "https"
	default:
		return errors.New(forms)
	}
	switch {
	case u.Host == "":
		return errors.New("names no host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("must end after the path; the token belongs in --token-file")
	}
	path := strings.TrimRight(u.Path, "/")
	for _, end := range []string{panelPath, documentPath} {
		path = strings.TrimSuffix(path, end)
	}
	*e = endpoint{u.Scheme + "://" + u.Host + strings.TrimRight(path, "/")}
	return nil
}

// String returns the canonical WebSocket form, without a path: what a note
// keeps and what messages show.
func (e endpoint) String() string {
	return "ws" + strings.TrimPrefix(e.base, "http")
}

// at returns the http address of a path of the daemon.
func (e endpoint) at(path string) string { return e.base + path }

// remote is how a client reaches a daemon and what it shows for itself. The
// defaults are those of a daemon started in the same folder.
type remote struct {
	URL       endpoint `name:"url" default:"ws://127.0.0.1:11451" placeholder:"URL" help:"The daemon: ws://, wss://, http:// or https:// (${default})."`
	TokenFile string   `default:"waybill-data/state/main-token" placeholder:"FILE" help:"File with the token (${default})."`
}

// token reads the token file. It is read again for each connection, so a
// token renewed meanwhile is taken up.
func (r *remote) token() (string, error) {
	if r.TokenFile == "" {
		return "", fail(exitUsage, "--token-file is missing")
	}
	text, err := os.ReadFile(r.TokenFile)
	if err != nil {
		return "", localError("token file", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fail(exitUsage, "token file %s: holds no token", r.TokenFile)
	}
	return token, nil
}

// sendable refuses a path that JSON cannot carry: encoding it would name
// another file.
func sendable(path string) error {
	if utf8.ValidString(path) {
		return nil
	}
	return fail(exitUsage, "%q: the path is not valid UTF-8, and the protocol carries no other", path)
}

// localError gives an error of a local file that was to be read its code.
func localError(what string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(exitNoInput, "%s: %w", what, err)
	case errors.Is(err, fs.ErrPermission):
		return fail(exitNoPerm, "%s: %w", what, err)
	}
	return fail(exitIO, "%s: %w", what, err)
}

// web is the HTTP client of every command. It sets no limit on the whole of a
// request, because a journal may take long; the daemon's first answer may not.
var web = &http.Client{Transport: &http.Transport{
	Proxy:                 http.ProxyFromEnvironment,
	DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
	TLSHandshakeTimeout:   10 * time.Second,
	ResponseHeaderTimeout: 30 * time.Second,
	DisableCompression:    true,
}}

// patientWeb is web for requests whose work takes long before there is an answer.
var patientWeb = func() *http.Client {
	t := web.Transport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 0
	return &http.Client{Transport: t}
}()

// lostError is the failure of a connection or of the daemon behind it: what
// another try may cure.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// request sends one HTTP request with the token, if there is one, and returns
// the answer if it is 200. The caller closes its body.
func (r *remote) request(ctx context.Context, method, path, token string, body io.Reader, contentType string) (*http.Response, error) {
	return r.requestWith(ctx, web, method, path, token, body, contentType)
}

func (r *remote) requestWith(ctx context.Context, web *http.Client, method, path, token string, body io.Reader, contentType string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.URL.at(path), body)
	if err != nil {
		return nil, fail(exitUsage, "%w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, &lostError{innermost(err)}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return nil, r.statusError(resp.StatusCode, strings.TrimSpace(string(text)))
}

// statusError says what an HTTP status means for a client.
func (r *remote) statusError(status int, text string) error {
	if text == "" || strings.HasPrefix(text, "<") {
		text = http.StatusText(status)
	}
	switch status {
	case http.StatusUnauthorized:
		return fail(exitNoPerm, "%s refused the token in %s", r.URL, r.TokenFile)
	case http.StatusForbidden:
		return fail(exitNoPerm, "%s: %s", r.URL, text)
	case http.StatusGone:
		return fail(exitUsage, "%s: %s; give its folder with --archive", r.URL, text)
	case http.StatusBadRequest:
		return fail(exitUsage, "%s: %s", r.URL, text)
	case http.StatusConflict:
		return fail(exitConfig, "%s: %s", r.URL, text)
	case http.StatusLocked:
		return fail(exitTemp, "%s: %s", r.URL, text)
	case http.StatusInternalServerError:
		return fail(exitIO, "%s: %s", r.URL, text)
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		// Starting, full, or a proxy in front of a daemon that is down.
		return &lostError{fail(exitUnreachable, "HTTP %d: %s", status, text)}
	}
	return fail(exitUnreachable, "%s is no waybill daemon: HTTP %d %s", r.URL, status, text)
}

// innermost strips the layers net/http and the WebSocket library put around
// the one cause a person needs.
func innermost(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	e, ok := errors.AsType[*net.OpError](err)
	switch {
	case !ok:
		return err
	case e.Op == "dial":
		return e // where to is of interest here
	}
	return e.Err
}

// unreachable is the end of all tries.
func (r *remote) unreachable(err error) error {
	return fail(exitUnreachable, "%s cannot be reached: %w", r.URL, err)
}

// once is the error of a command that tries only once.
func (r *remote) once(ctx context.Context, err error) error {
	if lost, ok := errors.AsType[*lostError](err); ok {
		err = r.unreachable(lost)
	}
	return interrupted(ctx, err)
}
