package acl

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Image is Accounts as a snapshot holds them. Its JSON is deterministic. Its
// fields are read by every later version: a new one is optional, and absent
// while it is unset. It has the verifiers, as the journal has.
type Image struct {
	// Users and Groups are by name.
	Users  []UserImage  `json:"users,omitempty"`
	Groups []GroupImage `json:"groups,omitempty"`
}

// UserImage is one User.
type UserImage struct {
	Name           string           `json:"user"`
	Nickname       string           `json:"nickname,omitempty"`
	State          int              `json:"state,omitempty"`
	Description    StateDescription `json:"state_description,omitzero"`
	Verifier       string           `json:"verifier,omitempty"`
	NotBefore      int64            `json:"not_before,omitempty"`
	Rights         Grants           `json:"rights,omitempty"`
	Groups         Grants           `json:"groups,omitempty"`
	PublicKey      string           `json:"publickey,omitempty"`
	Avatar         string           `json:"file_id,omitempty"`
	Restricted     bool             `json:"restricted,omitempty"`
	AccessRules    json.RawMessage  `json:"access_rules,omitempty"`
	ExternalAccess json.RawMessage  `json:"external_access,omitempty"`
}

// GroupImage is one group.
type GroupImage struct {
	Name    string `json:"group"`
	Enabled bool   `json:"enabled,omitempty"`
	Rights  Grants `json:"rights,omitempty"`
}

// Image gives the accounts as they stand. It shares memory with them: it is to
// be encoded before the next Apply, and not changed.
func (a *Accounts) Image() *Image {
	out := new(Image)
	for _, name := range slices.Sorted(maps.Keys(a.users)) {
		u := a.users[name]
		out.Users = append(out.Users, UserImage{
			Name: name, Nickname: u.Nickname, State: u.State, Description: u.StateDescription, Verifier: u.Verifier,
			NotBefore: u.NotBefore, Rights: u.Rights, Groups: u.Groups, PublicKey: u.PublicKey, Avatar: u.Avatar,
			Restricted: u.Restricted, AccessRules: u.Publicity.rules, ExternalAccess: u.Publicity.external,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(a.groups)) {
		g := a.groups[name]
		out.Groups = append(out.Groups, GroupImage{Name: name, Enabled: g.enabled, Rights: g.rights})
	}
	return out
}

// errImage is why an image is none of accounts.
var errImage = errors.New("not the image of accounts")

// RestoreAccounts gives the accounts that an image was made of; the image is
// theirs afterwards. An image that no accounts have is an error.
func RestoreAccounts(image *Image) (*Accounts, error) {
	a := NewAccounts()
	for _, g := range image.Groups {
		if _, twice := a.groups[g.Name]; twice || g.Name == "" {
			return nil, fmt.Errorf("%w: group %q", errImage, g.Name)
		}
		a.groups[g.Name] = &group{enabled: g.Enabled, rights: g.Rights.clone()}
	}
	for _, u := range image.Users {
		if _, twice := a.users[u.Name]; twice || u.Name == "" {
			return nil, fmt.Errorf("%w: user %q", errImage, u.Name)
		}
		for name := range u.Groups {
			if _, ok := a.groups[name]; !ok {
				return nil, fmt.Errorf("%w: user %q is in group %q, which is not there", errImage, u.Name, name)
			}
		}
		a.users[u.Name] = &User{
			Name: u.Name, Nickname: u.Nickname, State: u.State, StateDescription: u.Description, Verifier: u.Verifier,
			NotBefore: u.NotBefore, Rights: u.Rights.clone(), Groups: u.Groups.clone(), PublicKey: u.PublicKey,
			Avatar: u.Avatar, Restricted: u.Restricted, Publicity: NewAccess(u.AccessRules, u.ExternalAccess),
		}
	}
	return a, nil
}
