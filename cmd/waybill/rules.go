package main

import (
	"context"
	"encoding/json"
)

type rulesGetCmd struct {
	docRemote
	NodeID wireName `arg:"" name:"node-id" optional:"" help:"Id of a document or directory; the root if not given."`
}

// Run prints the rules of a node.
func (c *rulesGetCmd) Run(ctx context.Context, a *app) error {
	reply, err := c.ask(ctx, nodeName(c.NodeID), "getAccess", struct {
		ID wireName `json:"id"`
	}{c.NodeID})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printData(reply.Data)
	}
	return a.printIndented(reply.Data)
}

type rulesSetCmd struct {
	docRemote
	AccessRules    string `placeholder:"FILE" help:"Who may do what, as JSON; - is standard input. What is not given stays."`
	ExternalAccess string `placeholder:"FILE" help:"Who else may, as JSON; - is standard input."`
	Inherit        *bool  `negatable:"" help:"Of the root: its rules count below it too."`

	NodeID wireName `arg:"" name:"node-id" optional:"" help:"Id of a document or directory; the root if not given."`
}

// Run replaces rules of a node.
func (c *rulesSetCmd) Run(ctx context.Context, a *app) error {
	data := struct {
		ID       wireName        `json:"id"`
		Rules    json.RawMessage `json:"access_rules,omitempty"`
		External json.RawMessage `json:"external_access,omitempty"`
		Inherit  *bool           `json:"inherit_by_subdirectory,omitempty"`
	}{ID: c.NodeID, Inherit: c.Inherit}
	switch {
	case c.AccessRules == "" && c.ExternalAccess == "" && c.Inherit == nil:
		return fail(exitUsage, "nothing to set: --access-rules, --external-access, --inherit or --no-inherit is missing")
	case c.AccessRules == "-" && c.ExternalAccess == "-":
		return fail(exitUsage, "standard input can be only one of --access-rules and --external-access")
	case c.Inherit != nil && c.NodeID != "":
		return fail(exitUsage, "--inherit and --no-inherit are for the root; other nodes have __subinherit__ in their access rules")
	}
	for _, doc := range []struct {
		file string
		to   *json.RawMessage
	}{{c.AccessRules, &data.Rules}, {c.ExternalAccess, &data.External}} {
		if doc.file == "" {
			continue
		}
		var err error
		if *doc.to, err = a.readObject(doc.file); err != nil {
			return err
		}
	}
	return c.change(ctx, a, nodeName(c.NodeID), "setAccess", data)
}

// nodeName is what errors call a node.
func nodeName(id wireName) string {
	if id == "" {
		return "the root"
	}
	return string(id)
}
