package main

import (
	"context"
	"encoding/json"
	"errors"
)

type groupCreateCmd struct {
	docRemote
	Right    []grant    `sep:"none" placeholder:"NAME[=EXPIRES]" help:"A right the members have, may be repeated. EXPIRES is a time such as 2027-01-31T00:00:00Z, or how long from now, such as 720h."`
	Revoke   []grant    `sep:"none" placeholder:"NAME[=EXPIRES]" help:"A right the members have not, whoever else gives it, may be repeated."`
	Member   []wireName `sep:"none" placeholder:"NAME" help:"A user to be in it, may be repeated."`
	Disabled bool       `help:"Let it give nothing for now."`

	Name wireName `arg:"" help:"Name of the new group."`
}

// Run makes the group. It exists even if some members cannot be in it; who they
// are is told, and the exit code is that of a failure.
func (c *groupCreateCmd) Run(ctx context.Context, a *app) error {
	rights, err := grantMap(c.Right, c.Revoke)
	if err != nil {
		return err
	}
	data := struct {
		Name    wireName              `json:"group_name"`
		Rights  map[string]grantValue `json:"rights,omitempty"`
		Enabled *int                  `json:"enabled,omitempty"`
		Members []wireName            `json:"members,omitempty"`
	}{Name: c.Name, Rights: rights, Members: c.Member}
	if c.Disabled {
		data.Enabled = new(int)
	}
	reply, err := c.ask(ctx, string(c.Name), "createGroup", data)
	if e, refused := errors.AsType[*docRefusal](err); refused && e.code == docPartly {
		var lost struct {
			Failed []string `json:"failed"`
		}
		_ = json.Unmarshal(reply.Data, &lost) // then the message names nobody
		err = fail(exitIO, "%s: made, but not all can be members: %s", printable(string(c.Name)), printableList(lost.Failed))
	} else if err != nil {
		return err
	}
	if c.JSON {
		return errors.Join(a.printData(reply.Data), err)
	}
	return err
}
