package acl

import (
	"encoding/json"
	"maps"
)

// Grant is a right or a membership as it was given (CFMS.md §6.1). The zero
// value is good for ever.
type Grant struct {
	// Expire is when it ends, in unix seconds; 0 or less: never.
	Expire float64 `json:"expire,omitempty"`
	// Revoke turns a right into its opposite: while valid, it takes the right
	// away, whoever else gives it. A membership with it is none.
	Revoke bool `json:"revoke,omitempty"`
}

// Valid tells whether the grant counts at now, in unix seconds.
func (g Grant) Valid(now float64) bool { return g.Expire <= 0 || g.Expire > now }

// Grants are rights or memberships by name.
type Grants map[string]Grant

// ParseGrants reads rights or groups as clients and policies write them, in
// any of three shapes: {name: {"expire": t, "revoke": bool}}, {name: t},
// [name, …] (CFMS.md §5.4). Names have at most maxName code points (§7.4:
// MaxRightName, MaxGroupName). What does not fit is CodeStructure. The result
// is never nil then.
func ParseGrants(raw json.RawMessage, maxName int) (Grants, error) {
	v, err := decodeValue(raw)
	if err != nil {
		return nil, CodeStructure
	}
	g := Grants{}
	if list, ok := texts(v); ok {
		for _, name := range list {
			g[name] = Grant{}
		}
	} else {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, CodeStructure
		}
		for name, item := range o {
			if g[name], ok = parseGrant(item); !ok {
				return nil, CodeStructure
			}
		}
	}
	for name := range g {
		if !goodName(name, maxName) {
			return nil, CodeStructure
		}
	}
	if !g.fit() {
		return nil, CodeStructure
	}
	return g, nil
}

func parseGrant(v any) (Grant, bool) {
	o, ok := v.(map[string]any)
	if !ok {
		t, ok := expiry(v)
		return Grant{Expire: t}, ok
	}
	// A misspelt revoke must not become a grant.
	if !onlyKeys(o, "expire", "revoke") {
		return Grant{}, false
	}
	t, ok := expiry(o["expire"])
	if !ok {
		return Grant{}, false
	}
	revoke := false
	if v := o["revoke"]; v != nil {
		revoke, ok = boolean(v)
	}
	return Grant{Expire: t, Revoke: revoke}, ok
}

// fit tells whether a fact can hold the grants.
func (g Grants) fit() bool {
	if len(g) > maxGrants {
		return false
	}
	b, err := json.Marshal(g)
	return err == nil && len(b) <= maxGrantBytes
}

// clone copies the grants; the result is never nil.
func (g Grants) clone() Grants {
	c := make(Grants, len(g))
	maps.Copy(c, g)
	return c
}

// grantsOf gives names for ever.
func grantsOf(names ...string) Grants {
	g := make(Grants, len(names))
	for _, n := range names {
		g[n] = Grant{}
	}
	return g
}

// with gives the grants and one more, for ever.
func (g Grants) with(name string) Grants {
	c := g.clone()
	c[name] = Grant{}
	return c
}
