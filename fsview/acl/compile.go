package acl

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// compiler turns decoded JSON into what rules.go tests. It reads what is there
// leniently and notes what should not be.
type compiler struct {
	// odd: there was something that ValidateAccess refuses.
	odd bool
	// bad: there was something malformed since a caller cleared it. Whoever
	// sets it sets odd.
	bad bool
}

func (c *compiler) malformed() { c.odd, c.bad = true, true }

// compile never fails; sound is false if there was anything odd.
func compile(rules, external json.RawMessage) (a *Access, sound bool) {
	c := &compiler{}
	a = &Access{}
	var rv, xv any
	a.rules, rv = c.decode(rules)
	a.external, xv = c.decode(external)
	audiences := c.external(xv)
	o, ok := rv.(map[string]any)
	if ok && len(o) == 0 {
		return a, !c.odd
	}
	a.levels = new([len(actions)]level)
	if !ok {
		for i := range a.levels {
			a.levels[i].rules = &ruleset{bad: true}
		}
		return a, false
	}
	lists, denials := c.lists(o), c.denials(o)
	for i, act := range actions {
		b, _ := index(Base(act))
		a.levels[i] = level{rules: lists[i], deny: denials[i], external: audiences[i]}
		if lists[i] == nil {
			a.levels[i].rules = lists[b]
		}
		if denials[i] == nil {
			a.levels[i].deny = denials[b]
		}
	}
	a.cuts, a.cutsDeny = c.noinherit(o)
	if v, ok := o["__subinherit__"]; ok {
		is, isBool := v.(bool)
		a.apart = isBool && !is
		c.odd = c.odd || !isBool
	}
	return a, !c.odd
}

// decode gives raw in compact form and decoded.
func (c *compiler) decode(raw json.RawMessage) (json.RawMessage, any) {
	raw = bytes.TrimSpace(raw)
	if absent(raw) {
		return nil, map[string]any{}
	}
	v, err := decodeValue(raw)
	if err != nil {
		c.odd = true
		quoted, _ := json.Marshal(string(raw)) // a string always encodes
		return quoted, nil
	}
	// encoding/json takes bytes that are not UTF-8; a journal does not.
	c.odd = c.odd || !utf8.Valid(raw)
	var b bytes.Buffer
	_ = json.Compact(&b, raw) // valid JSON always compacts
	return b.Bytes(), v
}

// lists compiles the own entries of the actions; nil: there is none.
func (c *compiler) lists(o map[string]any) (own [len(actions)]*ruleset) {
	for k, v := range o {
		switch i, known := index(Action(k)); {
		case known:
			c.bad = false
			own[i] = &ruleset{primaries: c.primaries(v)}
			own[i].bad = c.bad
		case k != "deny" && k != "__noinherit__" && k != "__subinherit__":
			c.odd = true
		}
	}
	return own
}

// primaries compiles a RULES list.
func (c *compiler) primaries(v any) (out []primary) {
	if o, ok := v.(map[string]any); ok {
		c.odd = true
		v = []any{o}
	}
	list, ok := v.([]any)
	if !ok {
		c.malformed()
	}
	for _, item := range list {
		o, ok := item.(map[string]any)
		if !ok {
			c.malformed()
		}
		if len(o) == 0 {
			continue
		}
		c.known(o, "match", "match_groups")
		p := primary{any: c.matchAny(o)}
		subs, ok := o["match_groups"].([]any)
		if !ok {
			c.malformed()
		}
		for _, item := range subs {
			o, ok := item.(map[string]any)
			if !ok {
				c.malformed()
			}
			if len(o) > 0 {
				p.subs = append(p.subs, c.sub(o))
			}
		}
		out = append(out, p)
	}
	return out
}

func (c *compiler) sub(o map[string]any) sub {
	c.known(o, "match", "rights", "groups")
	s := sub{
		any:    c.matchAny(o),
		rights: c.demand(o, "rights", MaxRightName),
		groups: c.demand(o, "groups", MaxGroupName),
	}
	// With one side empty there is nothing to choose from.
	s.any = s.any && len(s.rights.names) > 0 && len(s.groups.names) > 0
	return s
}

func (c *compiler) demand(o map[string]any, key string, maxName int) (q demand) {
	v, ok := o[key]
	if !ok {
		return q
	}
	o, ok = v.(map[string]any)
	if !ok {
		c.malformed()
	}
	c.known(o, "match", "require")
	q.any = c.matchAny(o)
	if v, ok = o["require"]; !ok {
		return q
	}
	if q.names, ok = texts(v); !ok {
		c.malformed()
	}
	for _, n := range q.names {
		c.name(n, maxName)
	}
	return q
}

// matchAny reads a match key: any, or all, which is meant without one.
func (c *compiler) matchAny(o map[string]any) bool {
	m, ok := o["match"]
	if ok && m != "any" && m != "all" {
		c.malformed()
	}
	return m == "any"
}

// denials compiles the own entries of deny; nil: there is none.
func (c *compiler) denials(rules map[string]any) (own [len(actions)]*denial) {
	v, ok := rules["deny"]
	if !ok {
		return own
	}
	o, ok := v.(map[string]any)
	if !ok {
		c.odd = true
		for i := range own {
			own[i] = &denial{bad: true}
		}
	}
	for k, v := range o {
		i, known := index(Action(k))
		if !known {
			c.odd = true
			continue
		}
		c.bad = false
		own[i] = c.denial(v)
		own[i].bad = c.bad
	}
	return own
}

func (c *compiler) denial(v any) *denial {
	d := &denial{}
	if list, ok := v.([]any); ok && len(list) == 0 {
		c.odd = true
		return d
	}
	o, ok := v.(map[string]any)
	if !ok {
		c.malformed()
	}
	c.known(o, "users", "groups", "rules")
	d.users = c.grantees(o, "users", maxUserName)
	d.groups = c.grantees(o, "groups", MaxGroupName)
	d.sort()
	if v, ok := o["rules"]; ok {
		list, isList := v.([]any)
		if primaries := c.primaries(v); !isList || len(list) > 0 {
			d.rules = &ruleset{primaries: primaries}
		}
	}
	return d
}

// noinherit reads __noinherit__. What names nothing cuts nothing.
func (c *compiler) noinherit(o map[string]any) (cuts, deny actionSet) {
	v, ok := o["__noinherit__"]
	if !ok {
		return 0, 0
	}
	list, ok := v.([]any)
	c.odd = c.odd || !ok
	for _, item := range list {
		s, _ := item.(string)
		name, isDeny := strings.CutPrefix(s, "deny_")
		_, known := index(Action(name))
		switch {
		case s == "all":
			cuts = allActions
		case s == "deny":
			deny = allActions
		case !known:
			c.odd = true
		case isDeny:
			deny |= covered(Action(name))
		default:
			cuts |= covered(Action(name))
		}
	}
	return cuts, deny
}

// known notes keys that mean nothing: misspelt, they would not restrict.
func (c *compiler) known(o map[string]any, keys ...string) {
	c.odd = c.odd || !onlyKeys(o, keys...)
}

// name notes names that nobody can have.
func (c *compiler) name(s string, limit int) {
	c.odd = c.odd || !goodName(s, limit)
}
