package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"waybill/daemon/docwire"
)

// docRemote is how a command of the document library reaches a daemon, and who
// it speaks for.
type docRemote struct {
	remote
	User         wireName `and:"user" placeholder:"NAME" help:"Who asks. Without it the main token does, which counts on the daemon's own machine only."`
	PasswordFile string   `and:"user" placeholder:"FILE" help:"With --user: file with the password, as it is typed."`
	JSON         bool     `help:"Result as one JSON object."`
}

// connect opens a connection that speaks for who was named. What is wrong with
// local files is told first.
func (r *docRemote) connect(ctx context.Context) (_ *docConn, err error) {
	c, typed := new(docConn), ""
	if r.User != "" {
		typed, err = readPassword("password file", r.PasswordFile)
	} else {
		c.token, err = r.token() // with no user name it is the main token
	}
	if err != nil {
		return nil, err
	}
	if c.ws, err = r.upgrade(ctx, documentPath, ""); err != nil {
		return nil, err
	}
	if r.User != "" {
		if err := c.login(ctx, string(r.User), typed); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// ask sends one request, about what is named, on a connection of its own. It
// tries once: who changes something should know what became of it. A reply that
// tells no success is returned beside its error.
func (r *docRemote) ask(ctx context.Context, about, request string, data any) (docwire.Reply, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return docwire.Reply{}, r.once(ctx, err)
	}
	defer c.close()
	reply, err := c.call(ctx, request, data)
	e, refused := errors.AsType[*docRefusal](err)
	lost, silent := errors.AsType[*lostError](err)
	switch {
	case silent:
		err = fail(exitUnreachable, "no answer from %s, which may have done it or not: %w", r.URL, lost)
	case refused && e.badToken() && r.User == "":
		err = fail(exitNoPerm, "%s refused the token in %s: without --user it must be the main token, and the daemon on this machine", r.URL, r.TokenFile)
	case refused:
		err = fmt.Errorf("%s: %w", printable(about), err)
	}
	return reply, err
}

// change asks for something that has no more to tell than that it was done.
func (r *docRemote) change(ctx context.Context, a *app, about, request string, data any) error {
	reply, err := r.ask(ctx, about, request, data)
	if err != nil || !r.JSON {
		return err
	}
	return a.printData(reply.Data)
}

// self refuses a command about oneself from the main token, which is no user.
func (r *docRemote) self(name wireName) error {
	if name == "" && r.User == "" {
		return fail(exitUsage, "which user? The main token is none")
	}
	return nil
}

// readData reads a part of a reply.
func readData(raw json.RawMessage, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the daemon sent data that cannot be read: %w", err)
	}
	return nil
}

// printData writes the data of a reply as one line; none is an empty object.
func (a *app) printData(data json.RawMessage) error {
	if len(data) == 0 || string(data) == "null" {
		data = json.RawMessage("{}")
	}
	return a.printJSON(data)
}
