package main

import (
	"context"
	"encoding/pem"
	"errors"
	"strings"
)

type userPublickeyCmd struct {
	docRemote
	Name wireName `arg:"" help:"A user."`
	File string   `arg:"" optional:"" help:"RSA public key in PEM to set; - is standard input. Without it, the key is printed."`
}

// Run prints or sets the public key.
func (c *userPublickeyCmd) Run(ctx context.Context, a *app) error {
	if c.File == "" {
		return c.print(ctx, a)
	}
	text, err := a.readInput(c.File)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil || strings.Contains(string(text), "PRIVATE KEY") {
		// The daemon would refuse it, but the journal would have it.
		return fail(exitUsage, "%s: not a public key in PEM", c.File)
	}
	return c.operate(ctx, a, c.Name, struct {
		userAction
		PublicKey string `json:"publickey"`
	}{userDo("set_publickey", c.Name), string(text)})
}

func (c *userPublickeyCmd) print(ctx context.Context, a *app) error {
	reply, err := c.ask(ctx, string(c.Name), "operateUser", userDo("get_publickey", c.Name))
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printData(reply.Data)
	}
	var data struct {
		PublicKey string `json:"publickey"`
	}
	if err := readData(reply.Data, &data); err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(data.PublicKey))
	if block == nil {
		return errors.New("the daemon sent a key that cannot be read")
	}
	// Encoded again: what stands around it is not ours.
	if err := pem.Encode(a.stdout, block); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}

type userAvatarCmd struct {
	docRemote
	Name   wireName `arg:"" help:"A user."`
	FileID wireText `arg:"" help:"Id of a document that is a picture; an empty one is the default picture."`
}

// Run sets the picture.
func (c *userAvatarCmd) Run(ctx context.Context, a *app) error {
	return c.operate(ctx, a, c.Name, struct {
		userAction
		FileID wireText `json:"file_id"`
	}{userDo("set_avatar", c.Name), c.FileID})
}
