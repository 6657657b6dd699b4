package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"waybill/daemon/docwire"
)

// clerk is a client of the document library with somebody's claim: one
// connection, one request at a time. For the main token the name is empty.
type clerk struct {
	ws          *websocket.Conn
	name, token string
	// asked, if not nil, is told of every answer, by the request's trace_id.
	asked func(request, ref string)
}

func dialClerk(addr, name, token string) (*clerk, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+documentPath, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	ws.SetReadLimit(64 << 20)
	return &clerk{ws: ws, name: name, token: token}, nil
}

func (c *clerk) close() { _ = c.ws.CloseNow() }

// say sends a message and waits for the next.
func (c *clerk) say(msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	err := c.ws.Write(ctx, websocket.MessageText, msg)
	if err == nil {
		_, msg, err = c.ws.Read(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	return msg, nil
}

// ask sends a request and waits for its reply, whatever that says; an error is a
// lost connection, or a reply that is none to this request.
func (c *clerk) ask(request string, data any) (docwire.Reply, error) {
	ref := freshID()
	name, token := c.name, c.token
	if request == "login" {
		name, token = "", ""
	}
	msg, err := c.say(docwire.AppendRequest(nil, request, data, name, token, ref))
	if err != nil {
		return docwire.Reply{}, err
	}
	r, err := docwire.ParseReply(msg)
	if err == nil && r.Text("trace_id") != ref {
		err = fmt.Errorf("%s %s is answered %s", request, ref, msg)
	}
	if err == nil && c.asked != nil {
		c.asked(request, ref)
	}
	return r, err
}

// call is ask for what has to succeed: a *docRefusal if it does not. into, if not
// nil, receives the data of the reply.
func (c *clerk) call(request string, data, into any) error {
	r, err := c.ask(request, data)
	switch {
	case err != nil:
		return err
	case r.Code != 0:
		return newDocRefusal(r)
	case into == nil:
		return nil
	}
	return json.Unmarshal(r.Data, into)
}

// refusalCode is the number of a refusal, 0 for anything else.
func refusalCode(err error) int {
	if e, ok := errors.AsType[*docRefusal](err); ok {
		return e.code
	}
	return 0
}

// fields are the data of a request.
type fields map[string]any

// login makes a user's new token the claim.
func (c *clerk) login(name, typed string) error {
	r, err := c.ask("login", fields{"username": name, "password": loginProof(typed)})
	if err == nil && r.Code != 0 {
		err = newDocRefusal(r)
	}
	if err != nil {
		return err
	}
	c.name, c.token = name, r.Text("token")
	return nil
}

// task is a file task as its client knows it.
type task struct{ id, token, fake string }

// session is its name in the journal.
func (k task) session() string { return uuid.MustParse(k.fake).String() }

// task sends a request that is answered by one.
func (c *clerk) task(request string, data any) (task, error) {
	var opened struct {
		ID    string            `json:"task_id"`
		Token string            `json:"task_token"`
		Names map[string]string `json:"t_filename"`
	}
	if err := c.call(request, data, &opened); err != nil {
		return task{}, err
	}
	k := task{id: opened.ID, token: opened.Token}
	for _, name := range opened.Names {
		k.fake = name
	}
	if _, err := uuid.Parse(k.fake); err != nil || len(opened.Names) != 1 {
		return task{}, fmt.Errorf("%s has the files %v", request, opened.Names)
	}
	return k, nil
}

func (c *clerk) operate(file, action string) error {
	return c.call("operateFile", fields{"file_id": file, "action": action}, nil)
}

func (c *clerk) toRead(file string) (task, error) {
	return c.task("operateFile", fields{"file_id": file, "action": "read"})
}

func (c *clerk) toWrite(file string) (task, error) {
	return c.task("operateFile", fields{"file_id": file, "action": "write"})
}

// resource is where bytes go over HTTP, or come from.
type resource interface{ where() (path, token string) }

func (k task) where() (path, token string) {
	return docwire.TaskPath + k.id + "/" + k.fake, k.token
}

// porter carries bytes over HTTP, those of file tasks and those of transfers: one
// connection at a time, one request at a time.
type porter struct {
	addr string
	// traced: the daemon's end of each connection is looked up.
	traced bool

	conn    net.Conn
	in      *bufio.Reader
	socket  string // the daemon's end, as strace calls it
	answers int    // on this connection
}

// transferReply is what a porter was told.
type transferReply struct {
	status int
	header http.Header
	body   []byte
	key    string // httpKey
}

func (p *porter) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// send sends a request about a resource. Its body is announced with its length, or
// sent in chunks if that is negative.
func (p *porter) send(method string, k resource, header fields, body []byte, length int) error {
	if p.conn == nil {
		if err := p.dial(); err != nil {
			return err
		}
	}
	_ = p.conn.SetDeadline(time.Now().Add(longest))
	var head bytes.Buffer
	path, token := k.where()
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, p.addr, token)
	for name, v := range header {
		fmt.Fprintf(&head, "%s: %v\r\n", name, v)
	}
	switch {
	case length < 0:
		head.WriteString("\r\n")
		const chunk = 10_000
		for len(body) > 0 {
			part := body[:min(chunk, len(body))]
			fmt.Fprintf(&head, "%x\r\n%s\r\n", len(part), part)
			body = body[len(part):]
		}
		head.WriteString("0\r\n\r\n")
	case method == http.MethodPut || method == http.MethodPatch || method == http.MethodPost:
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", length)
	default:
		head.WriteString("\r\n")
	}
	if _, err := p.conn.Write(append(head.Bytes(), body...)); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return nil
}

// do sends a request and waits for its answer. An error is a lost connection.
func (p *porter) do(method string, k resource, header fields, body []byte) (transferReply, error) {
	length := len(body)
	if header["Transfer-Encoding"] != nil {
		length = -1
	}
	werr := p.send(method, k, header, body, length)
	if p.conn == nil {
		return transferReply{}, werr
	}
	// It may have been refused before all of it was sent.
	r, err := p.receive(method)
	if err != nil {
		p.close()
		return transferReply{}, fmt.Errorf("%w: %s: %w", errLost, method, err)
	}
	return r, nil
}

func (p *porter) receive(method string) (transferReply, error) {
	resp, err := http.ReadResponse(p.in, &http.Request{Method: method})
	if err != nil {
		return transferReply{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return transferReply{}, err
	}
	p.answers++
	r := transferReply{resp.StatusCode, resp.Header, body, httpKey(p.socket, p.answers)}
	if resp.Close {
		p.close()
	}
	return r, nil
}

// hangUp sends a request with only the first bytes of its body, and goes: what
// comes of it is not known, nor when.
func (p *porter) hangUp(method string, k resource, header fields, part []byte, length int) error {
	err := p.send(method, k, header, part, length)
	p.close()
	return err
}

// breakOff sends a request with only the first bytes of its body and says that
// there is no more, which is answered too.
func (p *porter) breakOff(method string, k resource, header fields, part []byte, length int) (transferReply, error) {
	defer p.close()
	err := p.send(method, k, header, part, length)
	if err == nil {
		err = p.conn.(*net.TCPConn).CloseWrite()
	}
	if err != nil {
		return transferReply{}, fmt.Errorf("%w: %w", errLost, err)
	}
	r, err := p.receive(method)
	if err != nil {
		return transferReply{}, fmt.Errorf("%w: %w", errLost, err)
	}
	return r, nil
}

func (p *porter) dial() error {
	conn, err := net.DialTimeout("tcp", p.addr, longest)
	if err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	p.conn, p.in, p.answers = conn, bufio.NewReader(conn), 0
	if p.traced {
		if p.socket, err = socketOf(conn.RemoteAddr(), conn.LocalAddr()); err != nil {
			p.close()
		}
	}
	return err
}

// socketOf is the name that strace gives to the end at of a connection of this
// machine, once somebody has accepted it.
func socketOf(at, peer net.Addr) (string, error) {
	local, remote := hexAddr(at), hexAddr(peer)
	for deadline := time.Now().Add(longest); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(table)) {
			const inode = 9
			f := strings.Fields(line)
			if len(f) > inode && f[1] == local && f[2] == remote && f[inode] != "0" {
				return "socket:[" + f[inode] + "]", nil
			}
		}
	}
	return "", fmt.Errorf("nobody accepts the connection from %s", peer)
}

// hexAddr is an IPv4 address as /proc/net/tcp has it.
func hexAddr(a net.Addr) string {
	tcp := a.(*net.TCPAddr)
	ip := tcp.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], tcp.Port)
}

// offset is what Upload-Offset says, -1 if nothing.
func (r *transferReply) offset() int64 {
	n, err := strconv.ParseInt(r.header.Get("Upload-Offset"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// complete is what Upload-Complete says.
func (r *transferReply) complete() bool { return r.header.Get("Upload-Complete") == "?1" }

func (r *transferReply) String() string { return fmt.Sprintf("%d %q", r.status, r.body) }

// publishedReply is the body of the answer that completes an upload.
type publishedReply struct {
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	Revision string `json:"revision_id"`
}

// published is what an answer says that a content has become.
func (r *transferReply) published(data []byte) (publishedReply, error) {
	var p publishedReply
	if r.status != http.StatusOK {
		return p, fmt.Errorf("the end of an upload is answered %s", r)
	}
	if err := json.Unmarshal(r.body, &p); err != nil {
		return p, fmt.Errorf("the end of an upload is answered %s: %w", r, err)
	}
	if p.Size != int64(len(data)) || p.SHA256 != digestOf(data) || p.Revision == "" {
		return p, fmt.Errorf("%d bytes with the digest %s were published as %+v", len(data), digestOf(data), p)
	}
	return p, nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// reprDigest is the header that announces a content.
func reprDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// builtins are digests of contents that are never stored: the last is that of
// the picture of whoever has none.
var builtins = []string{
	digestOf(nil), digestOf([]byte("This is a file for testing.")),
	"be3900425297c4f57fbf5d632d62e8458c94fac68446a900a7569d9678dce3b1",
}
