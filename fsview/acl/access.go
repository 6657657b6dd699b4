package acl

import "encoding/json"

// Access is the access rules and the external access of one node, policy or
// profile, compiled (CFMS.md §6.2). It is immutable; the zero value is {} and
// {}, which allows everything to everybody.
type Access struct {
	// rules and external are as stored, compact; nil is {}.
	rules, external json.RawMessage
	// levels are by index of action; nil: the rules are {}.
	levels *[len(actions)]level
	// cuts and cutsDeny are the actions that __noinherit__ names.
	cuts, cutsDeny actionSet
	// apart: __subinherit__ is false.
	apart bool
}

// NewAccess compiles rules and external access. Nothing, and null, is {}.
// Malformed parts deny what they decide about, as CFMS.md §6.2 has it; text
// that is no JSON becomes a JSON string, which denies everything.
func NewAccess(rules, external json.RawMessage) *Access {
	a, _ := compile(rules, external)
	return a
}

// ValidateAccess tells whether rules and external access may be written:
// CodeStructure unless they have exactly the shapes of CFMS.md §6.2, known
// keys, names within §7.4 and numbers below 2^53. How long they may be is the
// caller's to check.
func ValidateAccess(rules, external json.RawMessage) error {
	if _, sound := compile(rules, external); !sound {
		return CodeStructure
	}
	return nil
}

// Rules gives the access rules as stored, compact JSON. It must not be changed.
func (a *Access) Rules() json.RawMessage { return orEmpty(a.rules) }

// External gives the external access as stored, compact JSON. It must not be
// changed.
func (a *Access) External() json.RawMessage { return orEmpty(a.external) }

func orEmpty(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("{}")
	}
	return raw
}

// Open tells whether the rules are {}: then every Level allows, nothing cuts,
// and external access does not matter.
func (a *Access) Open() bool { return a.levels == nil }

// Level tells whether s may do act as far as this level goes: level of
// CFMS.md §6.3. deny tells whether its deny entries count; now is in unix
// seconds.
func (a *Access) Level(s *Subject, act Action, deny bool, now float64) bool {
	if a.levels == nil || s.May(RightSuper) {
		return true
	}
	i, _ := index(act)
	return a.levels[i].allows(s, deny, now)
}

// Cuts tells whether __noinherit__ names act, its base, or all: the levels
// above do not count.
func (a *Access) Cuts(act Action) bool { return a.cuts.has(act) }

// CutsDeny tells whether __noinherit__ names deny, or deny_ with act or its
// base: the deny entries of the levels above do not count.
func (a *Access) CutsDeny(act Action) bool { return a.cutsDeny.has(act) }

// Subinherit is __subinherit__ of a directory: unless it is true, neither its
// rules nor those above count for what is in it.
func (a *Access) Subinherit() bool { return !a.apart }
