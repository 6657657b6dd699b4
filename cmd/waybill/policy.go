package main

import (
	"context"
	"encoding/json"
)

// policyParam names a policy.
type policyParam struct {
	ID wireName `json:"policy_id"`
}

type policyGetCmd struct {
	docRemote
	ID wireName `arg:"" name:"id" help:"A policy, such as user_auth."`
}

// Run prints what the policy says.
func (c *policyGetCmd) Run(ctx context.Context, a *app) error {
	reply, err := c.ask(ctx, string(c.ID), "getPolicy", policyParam{c.ID})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printData(reply.Data)
	}
	return a.printIndented(reply.Data)
}

type policySetCmd struct {
	docRemote
	ID   wireName `arg:"" name:"id" help:"A policy, such as user_auth."`
	File string   `arg:"" help:"What it is to say, as policy get prints it; - is standard input."`
}

// Run replaces what the policy says.
func (c *policySetCmd) Run(ctx context.Context, a *app) error {
	content, err := a.readObject(c.File)
	if err != nil {
		return err
	}
	return c.change(ctx, a, string(c.ID), "setPolicy", struct {
		policyParam
		Content json.RawMessage `json:"content"`
	}{policyParam{c.ID}, content})
}
