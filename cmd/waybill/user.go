package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

type userCreateCmd struct {
	docRemote
	NewPasswordFile string    `placeholder:"FILE" help:"File with the password of the new user. Without it one is made up and printed, once."`
	Nickname        *wireText `placeholder:"TEXT" help:"Shown in place of the name (the name)."`
	Group           []grant   `sep:"none" placeholder:"NAME[=EXPIRES]" help:"A group to be in, may be repeated. EXPIRES is a time such as 2027-01-31T00:00:00Z, or how long from now, such as 720h."`
	Right           []grant   `sep:"none" placeholder:"NAME[=EXPIRES]" help:"A right to have, may be repeated."`
	Revoke          []grant   `sep:"none" placeholder:"NAME[=EXPIRES]" help:"A right not to have whatever the groups give, may be repeated."`

	Name wireName `arg:"" help:"Name of the new user."`
}

// Run makes the user. A password that was made up is printed only once it is
// the user's.
func (c *userCreateCmd) Run(ctx context.Context, a *app) error {
	groups, err := grantMap(c.Group, nil)
	if err != nil {
		return err
	}
	rights, err := grantMap(c.Right, c.Revoke)
	if err != nil {
		return err
	}
	password, made := "", c.NewPasswordFile == ""
	if made {
		password = rand.Text()
	} else if password, err = readPassword("new password file", c.NewPasswordFile); err != nil {
		return err
	}
	_, err = c.ask(ctx, string(c.Name), "createUser", struct {
		Username wireName              `json:"username"`
		Password string                `json:"password"`
		Nickname *wireText             `json:"nickname,omitempty"`
		Rights   map[string]grantValue `json:"rights,omitempty"`
		Groups   map[string]grantValue `json:"groups,omitempty"`
	}{c.Name, password, c.Nickname, rights, groups})
	if err != nil {
		return err
	}
	if !made {
		password = ""
	}
	if c.JSON {
		return a.printJSON(struct {
			Password string `json:"password,omitempty"`
		}{password})
	}
	if made {
		a.say("the password of %s, shown only now:", printable(string(c.Name)))
		_, err = fmt.Fprintln(a.stdout, password)
	}
	return err
}

type userShowCmd struct {
	docRemote
	Name wireName `arg:"" optional:"" help:"A user; oneself if not given."`
}

// userProperties is what the library tells of a user.
type userProperties struct {
	Rights     json.RawMessage `json:"rights"`
	Groups     json.RawMessage `json:"groups"`
	Properties json.RawMessage `json:"properties"`
}

// Run prints what a user is. The reply has it beside its data.
func (c *userShowCmd) Run(ctx context.Context, a *app) error {
	if err := c.self(c.Name); err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		name = c.User
	}
	reply, err := c.ask(ctx, string(name), "getUserProperties", usernameParam{name})
	if err != nil {
		return err
	}
	p := userProperties{reply.Raw["rights"], reply.Raw["groups"], reply.Raw["properties"]}
	if c.JSON {
		return a.printJSON(p)
	}
	return p.print(a, string(name))
}

func (p *userProperties) print(a *app, name string) error {
	var rights, groups []string
	var of struct {
		State       int `json:"state"`
		Description struct {
			Time     float64 `json:"time"`
			Operator *string `json:"operator"`
			Reason   *string `json:"reason"`
		} `json:"state_description"`
		Nickname string `json:"nickname"`
		Avatar   struct {
			FileID *string `json:"file_id"`
		} `json:"avatar"`
	}
	for _, part := range []struct {
		raw json.RawMessage
		to  any
	}{{p.Rights, &rights}, {p.Groups, &groups}, {p.Properties, &of}} {
		if err := readData(part.raw, part.to); err != nil {
			return err
		}
	}
	state := "enabled"
	if of.State != 0 {
		state = "disabled"
	}
	if d := of.Description; d.Time > 0 {
		state += " " + time.Unix(int64(d.Time), 0).Format(time.DateTime)
		if d.Operator != nil {
			state += " by " + printable(*d.Operator)
		}
		if d.Reason != nil && *d.Reason != "" {
			state += ": " + printable(*d.Reason)
		}
	}
	avatar := "the default"
	if of.Avatar.FileID != nil {
		avatar = "file " + printable(*of.Avatar.FileID)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, row := range [][2]string{
		{"user", printable(name)},
		{"nickname", printable(of.Nickname)},
		{"state", state},
		{"groups", printableList(groups)},
		{"rights", printableList(rights)},
		{"avatar", avatar},
	} {
		fmt.Fprintf(tw, "%s\t%s\n", row[0], row[1])
	}
	return tw.Flush()
}

// printableList is names on one line, "-" for none.
func printableList(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	shown := make([]string, len(names))
	for i, n := range names {
		shown[i] = printable(n)
	}
	return strings.Join(shown, ", ")
}
