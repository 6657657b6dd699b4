package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"waybill/daemon/panelwire"
)

const (
	// maxReply is the longest reply a client reads: a directory listing is
	// the only long one, download chunks are bounded by --chunk.
	maxReply = 256 << 20
	// pingEvery and pongWithin notice a peer that is gone without a word.
	// A pong waits behind the chunks in flight, so it has time.
	pingEvery  = 15 * time.Second
	pongWithin = 45 * time.Second
)

// refusal is an error the daemon answered.
type refusal struct {
	retcode int
	message string
}

func (e *refusal) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.retcode) }

// The retcodes a client tells apart (PROTOCOL.md §3).
const (
	codeDenied      = 10003
	codeRateLimit   = 10005
	codeFile        = 21000
	codeExists      = 21002
	codeIsDirectory = 21004
	codeIsFile      = 21005
	codeAccess      = 21006
	codeDiskFull    = 21007
	codeTransfer    = 21100
	codeConflict    = 21101
	codeNoTransfer  = 21102
)

func (e *refusal) exitCode() int {
	switch e.retcode {
	case codeDenied, codeAccess:
		return exitNoPerm
	case codeExists, codeIsDirectory, codeIsFile, codeDiskFull, codeConflict:
		return exitCantCreate
	}
	return exitIO
}

// refused reports whether err is a refusal with one of the retcodes.
func refused(err error, retcodes ...int) bool {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		return false
	}
	for _, code := range retcodes {
		if r.retcode == code {
			return true
		}
	}
	return false
}

// socket is one authenticated connection. Its methods may be used by many
// goroutines. After the connection is lost every call fails with *lostError.
type socket struct {
	ws   *websocket.Conn
	gone chan struct{} // closed by read when the connection is over
	done sync.WaitGroup
	stop context.CancelFunc

	mu      sync.Mutex
	waiting map[string]chan panelwire.Reply // by request id; nil once over
	err     error                           // why it is over
}

// upgrade opens a WebSocket to a path of the daemon, with the token unless it
// is "". Errors that another try may cure are *lostError.
func (r *remote) upgrade(ctx context.Context, path, token string) (*websocket.Conn, error) {
	var header http.Header
	if token != "" {
		header = http.Header{"Authorization": {"Bearer " + token}}
	}
	ws, resp, err := websocket.Dial(ctx, r.URL.at(path), &websocket.DialOptions{HTTPClient: web, HTTPHeader: header})
	switch {
	case err == nil:
		ws.SetReadLimit(maxReply)
		return ws, nil
	case ctx.Err() != nil:
		return nil, interrupted(ctx, err)
	case resp != nil:
		return nil, r.statusError(resp.StatusCode, "")
	}
	return nil, &lostError{innermost(err)}
}

// dial connects to the daemon. Errors that another try may cure are
// *lostError.
func (r *remote) dial(ctx context.Context) (*socket, error) {
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	ws, err := r.upgrade(ctx, panelPath, token)
	if err != nil {
		return nil, err
	}
	// The connection outlives ctx on purpose: its owner closes it.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &socket{ws: ws, gone: make(chan struct{}), stop: stop, waiting: map[string]chan panelwire.Reply{}}
	s.done.Go(func() { s.read(own) })
	s.done.Go(func() { s.ping(own) })
	return s, nil
}

// close ends the connection and waits for its goroutines. Only a polite close
// waits for the daemon.
func (s *socket) close(polite bool) {
	s.over(&lostError{errors.New("connection closed")})
	if polite {
		s.ws.Close(websocket.StatusNormalClosure, "")
	} else {
		s.ws.CloseNow()
	}
	s.stop()
	s.done.Wait()
}

// over records why the connection is over and wakes every waiting call. Only
// the first reason counts.
func (s *socket) over(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != nil {
		s.waiting, s.err = nil, err
		close(s.gone)
	}
}

// read hands each reply to the call that waits for it.
func (s *socket) read(ctx context.Context) {
	for {
		_, msg, err := s.ws.Read(ctx)
		if err != nil {
			s.over(&lostError{closeReason(err)})
			return
		}
		reply, err := panelwire.ParseReply(msg)
		if err != nil {
			s.over(fmt.Errorf("the daemon sent a reply that cannot be read: %w", err))
			s.ws.CloseNow()
			return
		}
		s.mu.Lock()
		ch := s.waiting[reply.ID]
		delete(s.waiting, reply.ID)
		s.mu.Unlock()
		if ch != nil {
			ch <- reply // has room for its one reply
		} else if reply.Status != "ok" {
			// An answer to no request of ours: a request was not understood
			// at all, and who sent it would wait for ever.
			s.over(&refusal{reply.Retcode, reply.Message})
			s.ws.CloseNow()
			return
		}
	}
}

// ping closes a connection whose other end is silent.
func (s *socket) ping(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.gone:
			return
		case <-tick.C:
		}
		within, cancel := context.WithTimeout(ctx, pongWithin)
		err := s.ws.Ping(within)
		cancel()
		if err != nil {
			s.over(&lostError{errors.New("the daemon is silent")})
			s.ws.CloseNow()
			return
		}
	}
}

// closeReason shortens what the library says about a lost connection.
func closeReason(err error) error {
	if c, ok := errors.AsType[websocket.CloseError](err); ok {
		if c.Reason != "" {
			return fmt.Errorf("closed by the daemon: %s", c.Reason)
		}
		return fmt.Errorf("closed by the daemon (%d)", c.Code)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("lost the connection")
	}
	return fmt.Errorf("lost the connection: %w", innermost(err))
}

// awaited is the reply to come of one request.
type awaited struct {
	s  *socket
	ch chan panelwire.Reply
}

// begin sends a request made by frame, which gets its id, and returns its
// reply to come. The frame belongs to the caller again when begin returns.
func (s *socket) begin(ctx context.Context, typ websocket.MessageType, frame func(id string) []byte) (*awaited, error) {
	id := uuid.NewString()
	ch := make(chan panelwire.Reply, 1)
	s.mu.Lock()
	if s.waiting == nil {
		s.mu.Unlock()
		return nil, s.err
	}
	s.waiting[id] = ch
	s.mu.Unlock()
	if err := s.ws.Write(ctx, typ, frame(id)); err != nil {
		if ctx.Err() != nil {
			return nil, interrupted(ctx, err)
		}
		s.over(&lostError{closeReason(err)})
		return nil, s.err
	}
	return &awaited{s, ch}, nil
}

// reply waits for the reply; an error the daemon answered is a *refusal.
func (w *awaited) reply(ctx context.Context) (panelwire.Reply, error) {
	var reply panelwire.Reply
	select {
	case reply = <-w.ch:
	case <-ctx.Done():
		return reply, interrupted(ctx, ctx.Err())
	case <-w.s.gone:
		select {
		case reply = <-w.ch: // it came before the end
		default:
			return reply, w.s.err
		}
	}
	if reply.Status != "ok" {
		return reply, &refusal{reply.Retcode, reply.Message}
	}
	return reply, nil
}

// into waits for the reply and reads its data into out, unless that is nil.
func (w *awaited) into(ctx context.Context, out any) error {
	reply, err := w.reply(ctx)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(reply.Data, out); err != nil {
		return fmt.Errorf("the daemon sent data that cannot be read: %w", err)
	}
	return nil
}

// call sends a request as text and waits for its reply.
func (s *socket) call(ctx context.Context, action string, params, out any) error {
	w, err := s.begin(ctx, websocket.MessageText, func(id string) []byte {
		return panelwire.AppendRequest(nil, id, action, params)
	})
	if err != nil {
		return err
	}
	return w.into(ctx, out)
}
