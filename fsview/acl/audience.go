package acl

import (
	"cmp"
	"slices"
)

// grantee is a user or group and until when it is meant.
type grantee struct {
	name  string
	grant Grant
}

// audience are users, sorted by name, and groups.
type audience struct{ users, groups []grantee }

func (p *audience) sort() {
	byName := func(a, b grantee) int { return cmp.Compare(a.name, b.name) }
	slices.SortFunc(p.users, byName)
	slices.SortFunc(p.groups, byName)
}

// includes tells whether s is meant at now, by name or by membership.
func (p *audience) includes(s *Subject, now float64) bool {
	i, ok := slices.BinarySearchFunc(p.users, s.Name, func(g grantee, name string) int { return cmp.Compare(g.name, name) })
	if ok && p.users[i].grant.Valid(now) {
		return true
	}
	for i := range p.groups {
		if g := &p.groups[i]; g.grant.Valid(now) && s.Groups.Has(g.name) {
			return true
		}
	}
	return false
}

// grantees reads {name: {"expire": t}} under a key.
func (c *compiler) grantees(o map[string]any, key string, maxName int) (out []grantee) {
	v, ok := o[key]
	if !ok {
		return nil
	}
	o, ok = v.(map[string]any)
	if !ok {
		c.malformed()
	}
	for name, v := range o {
		c.name(name, maxName)
		out = append(out, grantee{name, c.until(v)})
	}
	return out
}

// until reads {"expire": t}.
func (c *compiler) until(v any) Grant {
	o, ok := v.(map[string]any)
	if !ok {
		c.malformed()
	}
	c.known(o, "expire")
	t, ok := expiry(o["expire"])
	if !ok {
		c.malformed()
	}
	return Grant{Expire: t}
}

// external compiles external access. One malformed entry takes all of its
// action with it, a malformed frame everything.
func (c *compiler) external(v any) (out [len(actions)]*audience) {
	o, ok := v.(map[string]any)
	if !ok {
		c.odd = true
		return out
	}
	c.known(o, "groups", "users")
	var all [len(actions)]audience
	var bad [len(actions)]bool
	read := func(key string, maxName int, add func(i int, g grantee)) (sound bool) {
		v, ok := o[key]
		if !ok {
			return true
		}
		names, ok := v.(map[string]any)
		if !ok {
			return false
		}
		for name, v := range names {
			c.name(name, maxName)
			entries, ok := v.(map[string]any)
			if !ok {
				return false
			}
			for k, v := range entries {
				i, known := index(Action(k))
				if !known {
					c.odd = true
					continue
				}
				c.bad = false
				add(i, grantee{name, c.until(v)})
				bad[i] = bad[i] || c.bad
			}
		}
		return true
	}
	if !read("users", maxUserName, func(i int, g grantee) { all[i].users = append(all[i].users, g) }) ||
		!read("groups", MaxGroupName, func(i int, g grantee) { all[i].groups = append(all[i].groups, g) }) {
		c.odd = true
		return out
	}
	for i := range all {
		if p := &all[i]; !bad[i] && len(p.users)+len(p.groups) > 0 {
			p.sort()
			out[i] = p
		}
	}
	return out
}
