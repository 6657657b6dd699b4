package acl

// What access rules and external access compile to (CFMS.md §6.2, §6.3), and
// how each part is tested. Nothing here allocates: it runs for every node on
// the way to the root, for every entry of a listing.

// ruleset is a RULES list without its empty members.
type ruleset struct {
	primaries []primary
	// bad: malformed, so that nobody passes.
	bad bool
}

type primary struct {
	any  bool
	subs []sub // without the empty ones
}

type sub struct {
	any            bool
	rights, groups demand
}

type demand struct {
	any   bool
	names []string
}

// holds is match of §6.3: every primary holds.
func (r *ruleset) holds(s *Subject) bool {
	if r.bad {
		return false
	}
	for i := range r.primaries {
		if !r.primaries[i].holds(s) {
			return false
		}
	}
	return true
}

func (p *primary) holds(s *Subject) bool {
	for i := range p.subs {
		if p.subs[i].holds(s) == p.any {
			return p.any
		}
	}
	return !p.any
}

func (u *sub) holds(s *Subject) bool {
	if u.any {
		return u.rights.met(s.Rights) || u.groups.met(s.Groups)
	}
	return u.rights.met(s.Rights) && u.groups.met(s.Groups)
}

func (q *demand) met(have Set) bool {
	for _, n := range q.names {
		if have.Has(n) == q.any {
			return q.any
		}
	}
	return !q.any || len(q.names) == 0
}

// denial is an entry of deny.
type denial struct {
	audience
	// rules deny whom they match; nil: there are none, or an empty list.
	rules *ruleset
	// bad: malformed, so that it denies everybody.
	bad bool
}

func (d *denial) hits(s *Subject, now float64) bool {
	return d.bad || d.includes(s, now) || d.rules != nil && d.rules.holds(s)
}

// level is what one node says about one action, the base's entries in place of
// missing ones.
type level struct {
	deny     *denial   // nil: none
	rules    *ruleset  // nil: no list, so everybody passes
	external *audience // nil: nobody
}

func (l *level) allows(s *Subject, deny bool, now float64) bool {
	if deny && l.deny != nil && l.deny.hits(s, now) {
		return false
	}
	if l.rules == nil || l.rules.holds(s) {
		return true
	}
	return !l.rules.bad && l.external != nil && l.external.includes(s, now)
}
