package main

import "context"

// usernameParam names a user; absent, it is oneself.
type usernameParam struct {
	Username wireName `json:"username,omitempty"`
}

// userAction is what every operateUser has.
type userAction struct {
	Action string `json:"action"`
	usernameParam
}

func userDo(action string, name wireName) userAction { return userAction{action, usernameParam{name}} }

// operate does something to a user that has no more to tell than that it was
// done.
func (r *docRemote) operate(ctx context.Context, a *app, name wireName, data any) error {
	if name == "" {
		name = r.User
	}
	return r.change(ctx, a, string(name), "operateUser", data)
}

type userPasswdCmd struct {
	docRemote
	NewPasswordFile string `required:"" placeholder:"FILE" help:"File with the new password, as it is typed."`

	Name wireName `arg:"" optional:"" help:"A user; oneself if not given."`
}

// Run sets the password. The token that comes back for one's own is not wanted
// here: the connection ends.
func (c *userPasswdCmd) Run(ctx context.Context, a *app) error {
	if err := c.self(c.Name); err != nil {
		return err
	}
	password, err := readPassword("new password file", c.NewPasswordFile)
	if err != nil {
		return err
	}
	return c.operate(ctx, a, c.Name, struct {
		userAction
		NewPwd string `json:"new_pwd"`
	}{userDo("passwd", c.Name), password})
}

type userGroupsCmd struct {
	docRemote
	None bool `help:"Be in no group but user, in which everybody is."`

	Name   wireName `arg:"" help:"A user."`
	Groups []grant  `arg:"" optional:"" name:"group[=expires]" help:"The groups to be in. EXPIRES is a time such as 2027-01-31T00:00:00Z, or how long from now, such as 720h."`
}

// Run replaces the memberships. To take all away has to be asked for: the
// command without groups looks as if it only showed them.
func (c *userGroupsCmd) Run(ctx context.Context, a *app) error {
	groups, err := replacement(c.None, c.Groups, nil)
	if err != nil {
		return err
	}
	return c.operate(ctx, a, c.Name, struct {
		userAction
		Groups map[string]grantValue `json:"new_groups"`
	}{userDo("set_groups", c.Name), groups})
}

type userRightsCmd struct {
	docRemote
	None   bool    `help:"Have no right but those of the groups."`
	Revoke []grant `sep:"none" placeholder:"NAME[=EXPIRES]" help:"A right not to have whatever the groups give, may be repeated."`

	Name   wireName `arg:"" help:"A user."`
	Rights []grant  `arg:"" optional:"" name:"right[=expires]" help:"The rights to have beside those of the groups. EXPIRES is a time such as 2027-01-31T00:00:00Z, or how long from now, such as 720h."`
}

// Run replaces the user's own rights; see userGroupsCmd.Run.
func (c *userRightsCmd) Run(ctx context.Context, a *app) error {
	rights, err := replacement(c.None, c.Rights, c.Revoke)
	if err != nil {
		return err
	}
	return c.operate(ctx, a, c.Name, struct {
		userAction
		Rights map[string]grantValue `json:"new_rights"`
	}{userDo("set_rights", c.Name), rights})
}

// replacement is the grants that are to be all there are; never nil.
func replacement(none bool, given, revoked []grant) (map[string]grantValue, error) {
	m, err := grantMap(given, revoked)
	switch {
	case err != nil:
		return nil, err
	case none && m != nil:
		return nil, fail(exitUsage, "--none, or names: not both")
	case none:
		return map[string]grantValue{}, nil
	case m == nil:
		return nil, fail(exitUsage, "name at least one, or take all away with --none")
	}
	return m, nil
}

type userNicknameCmd struct {
	docRemote
	Name     wireName `arg:"" help:"A user."`
	Nickname wireText `arg:"" help:"What to show in place of the name; an empty one is the name."`
}

// Run sets the nickname.
func (c *userNicknameCmd) Run(ctx context.Context, a *app) error {
	return c.operate(ctx, a, c.Name, struct {
		userAction
		Nickname wireText `json:"nickname"`
	}{userDo("set_nickname", c.Name), c.Nickname})
}

// userStatus is what enabling and disabling have in common.
type userStatus struct {
	docRemote
	Reason *wireText `placeholder:"TEXT" help:"Why; kept with the user."`

	Name wireName `arg:"" help:"A user."`
}

func (c *userStatus) set(ctx context.Context, a *app, status int) error {
	return c.operate(ctx, a, c.Name, struct {
		userAction
		Status int       `json:"status"`
		Reason *wireText `json:"reason,omitempty"`
	}{userDo("set_status", c.Name), status, c.Reason})
}

type userEnableCmd struct{ userStatus }

// Run lets the user in again.
func (c *userEnableCmd) Run(ctx context.Context, a *app) error { return c.set(ctx, a, 0) }

type userDisableCmd struct{ userStatus }

// Run locks the user out; tokens and open tasks end.
func (c *userDisableCmd) Run(ctx context.Context, a *app) error { return c.set(ctx, a, 1) }

type userDeleteCmd struct {
	docRemote
	Name wireName `arg:"" help:"A user."`
}

// Run removes the user for good.
func (c *userDeleteCmd) Run(ctx context.Context, a *app) error {
	return c.operate(ctx, a, c.Name, userDo("delete", c.Name))
}
