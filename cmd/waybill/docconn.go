package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"waybill/daemon/docwire"
)

// answerWithin is how long the document library may take for an answer. What it
// is asked here takes no time, but a refused login waits on purpose.
const answerWithin = 60 * time.Second

// docConn is a connection to the document library, with somebody's claim. It
// carries one request at a time.
type docConn struct {
	ws              *websocket.Conn
	username, token string
}

// call sends a request and waits for its reply. A reply that tells no success
// is returned beside its *docRefusal.
func (c *docConn) call(ctx context.Context, request string, data any) (docwire.Reply, error) {
	msg := docwire.AppendRequest(nil, request, data, c.username, c.token, "")
	within, cancel := context.WithTimeoutCause(ctx, answerWithin, errors.New("the daemon is silent"))
	defer cancel()
	err := c.ws.Write(within, websocket.MessageText, msg)
	if err == nil {
		_, msg, err = c.ws.Read(within)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return docwire.Reply{}, interrupted(ctx, err)
	case within.Err() != nil:
		return docwire.Reply{}, &lostError{context.Cause(within)}
	default:
		return docwire.Reply{}, &lostError{closeReason(err)}
	}
	reply, err := docwire.ParseReply(msg)
	if err != nil {
		return reply, fmt.Errorf("the daemon sent a reply that cannot be read: %w", err)
	}
	if reply.Code != 0 {
		return reply, newDocRefusal(reply)
	}
	return reply, nil
}

// login makes name's token the claim of the connection.
func (c *docConn) login(ctx context.Context, name, typed string) error {
	reply, err := c.call(ctx, "login", struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}{name, loginProof(typed)})
	if err != nil {
		return err
	}
	if c.token = reply.Text("token"); c.token == "" {
		return errors.New("the daemon let us in without a token")
	}
	c.username = name
	return nil
}

// close ends the connection at once: there is no request without its answer.
func (c *docConn) close() { c.ws.CloseNow() }

// docRefusal is what the document library answered in place of a success.
type docRefusal struct {
	code    int
	message string
	retry   int64 // seconds until a login that is blocked counts again
}

func newDocRefusal(reply docwire.Reply) *docRefusal {
	e := &docRefusal{code: reply.Code, message: reply.Msg}
	_ = json.Unmarshal(reply.Raw["retry_after"], &e.retry) // absent from most
	return e
}

func (e *docRefusal) Error() string {
	if e.retry > 0 {
		return fmt.Sprintf("%s (%d); blocked for another %d s", e.message, e.code, e.retry)
	}
	return fmt.Sprintf("%s (%d)", e.message, e.code)
}

// The codes that are told apart (CFMS.md §2). Where one code stands for many
// things the words have to tell: a wrong guess costs a fitting exit code.
const (
	docFailed       = -1
	docPartly       = -3
	docUnauthorized = 401
	docDenied       = 403

	docBadToken    = "invaild token or username"
	docNoAuth      = "no full authentication data provided" // the main token, not from its own machine
	docUserExists  = "user exists"
	docGroupExists = "group exists"
)

// badToken tells that nobody is known by the claim that was made.
func (e *docRefusal) badToken() bool {
	return e.code == docFailed && (e.message == docBadToken || e.message == docNoAuth)
}

func (e *docRefusal) exitCode() int {
	switch {
	case e.code == docUnauthorized, e.code == docDenied, e.badToken():
		return exitNoPerm
	case e.code == docFailed && (e.message == docUserExists || e.message == docGroupExists):
		return exitCantCreate
	}
	return exitIO
}
