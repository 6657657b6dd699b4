package acl

import (
	"maps"
	"slices"
)

// The states of a user.
const (
	StateEnabled  = 0
	StateDisabled = 1
)

// User is what is known of one user.
type User struct {
	Name, Nickname string
	// State is StateEnabled or StateDisabled, StateDescription why.
	State            int
	StateDescription StateDescription
	// Verifier is what passwords are checked against; "" lets nobody in.
	Verifier string
	// NotBefore is tokens_not_before, in unix microseconds: tokens issued
	// earlier are void (CFMS.md §3.2).
	NotBefore int64
	// Rights are the user's own, Groups the memberships except that of
	// GroupUser, which everybody has.
	Rights, Groups Grants
	// PublicKey is an RSA key in PEM, or "".
	PublicKey string
	// Avatar is the id of a file, or "" for the default.
	Avatar string
	// Restricted tells whether Publicity says who may see the avatar; unless
	// it is set, everybody may.
	Restricted bool
	Publicity  *Access
}

// StateDescription tells since when, by whom and why a user has its state.
type StateDescription struct {
	// Time is in unix seconds, 0 if the state never changed.
	Time     float64 `json:"time"`
	Operator *string `json:"operator"`
	Reason   *string `json:"reason"`
}

// group is what is known of one group.
type group struct {
	enabled bool
	rights  Grants
}

// Accounts holds all users and groups. It is owned by one goroutine. Methods
// that decide return facts or a Code, and change nothing; Apply, and nothing
// else, changes it.
type Accounts struct {
	users  map[string]*User
	groups map[string]*group
}

// NewAccounts returns accounts without any user or group; Genesis has the
// first.
func NewAccounts() *Accounts {
	return &Accounts{users: make(map[string]*User), groups: make(map[string]*group)}
}

// User returns a copy of a user.
func (a *Accounts) User(name string) (User, bool) {
	u, ok := a.users[name]
	if !ok {
		return User{}, false
	}
	c := *u
	c.Rights, c.Groups = u.Rights.clone(), u.Groups.clone()
	c.StateDescription.Operator = copied(u.StateDescription.Operator)
	c.StateDescription.Reason = copied(u.StateDescription.Reason)
	return c, true
}

func copied(s *string) *string {
	if s == nil {
		return nil
	}
	return new(*s)
}

// Users returns the number of users.
func (a *Accounts) Users() int { return len(a.users) }

// Enabled tells whether the user exists and is not disabled.
func (a *Accounts) Enabled(name string) bool {
	u, ok := a.users[name]
	return ok && u.State == StateEnabled
}

// Accepts tells whether a token, verified as such, is good for the user name
// that came with it: it is that user's, the user is enabled, and the token is
// not older than the user's mark (CFMS.md §3.2).
func (a *Accounts) Accepts(c Claims, name string) bool {
	return c.Subject == name && a.Enabled(name) && c.Issued >= a.users[name].NotBefore
}

// Subject gives a user as rules see it at now, in unix seconds: effective
// rights and valid memberships (CFMS.md §6.1). It is false for an unknown
// user, and does not ask whether the user is enabled.
func (a *Accounts) Subject(name string, now float64) (*Subject, bool) {
	u, ok := a.users[name]
	if !ok {
		return nil, false
	}
	return a.subject(name, u.Rights, u.Groups, now), true
}

// Main gives the holder of the daemon's main token at now: a member of
// GroupUser and GroupSysop, with every right of a sysop whatever groups say.
func (a *Accounts) Main(now float64) *Subject {
	s := a.subject(MainName, nil, grantsOf(GroupSysop), now)
	s.Main = true
	for _, r := range sysopRights {
		s.Rights[r] = struct{}{}
	}
	return s
}

// subject computes effective rights. A disabled group gives and takes nothing,
// but being in it counts for rules.
func (a *Accounts) subject(name string, own, memberships Grants, now float64) *Subject {
	s := &Subject{Name: name, Rights: make(Set), Groups: Set{GroupUser: {}}}
	for g, m := range memberships {
		if m.Valid(now) && !m.Revoke {
			s.Groups[g] = struct{}{}
		}
	}
	var revoked []string
	collect := func(from Grants) {
		for r, g := range from {
			switch {
			case !g.Valid(now):
			case g.Revoke:
				revoked = append(revoked, r)
			default:
				s.Rights[r] = struct{}{}
			}
		}
	}
	collect(own)
	for name := range s.Groups {
		if g, ok := a.groups[name]; ok && g.enabled {
			collect(g.rights)
		}
	}
	for _, r := range revoked {
		delete(s.Rights, r)
	}
	return s
}

// sorted gives the names of a set, never nil.
func (s Set) sorted() []string {
	names := slices.AppendSeq(make([]string, 0, len(s)), maps.Keys(s))
	slices.Sort(names)
	return names
}
