package sessions

// staged counts what live uploads hold: bytes that are set aside or stored and do
// not stand under their names yet. It is part of the fold: all of it follows from
// the sessions.
type staged struct {
	all int64
	by  map[holder]int64
}

// holder is whoever opened uploads. A user of the document library and a subject
// of the same name are two.
type holder struct {
	owner string
	task  bool
}

func (u *Upload) holder() holder { return holder{u.Owner, u.Task != nil} }

// holds is how many bytes the upload counts for: its size, or while that is not
// known, what is stored of it.
func (u *Upload) holds() int64 {
	if u.Size >= 0 {
		return u.Size
	}
	return u.Stored.Len()
}

func (s *staged) add(by holder, n int64) {
	if n == 0 { // as for almost every fact
		return
	}
	s.all += n
	if s.by[by] += n; s.by[by] == 0 {
		delete(s.by, by)
	}
}

// Staged is how many bytes all live uploads hold, and those of one owner: tasks
// are counted by user, other uploads by subject. An upload holds its size, or what
// is stored of it while its size is not known.
func (t *Table) Staged(owner string, task bool) (all, own int64) {
	return t.staged.all, t.staged.by[holder{owner, task}]
}

// Growth is by how many bytes an open upload would hold more with ranges, which
// are disjoint: none if its size is known. ErrUnknown, ErrState.
func (t *Table) Growth(id ID, ranges []Range) (n int64, err error) {
	u, err := t.open(id)
	if err != nil || u.Size >= 0 {
		return 0, err
	}
	for _, r := range ranges {
		n += r.Len()
		for _, have := range u.Stored.Overlap(r) {
			n -= have.Len()
		}
	}
	return n, nil
}

// change makes a change to a live upload, and counts what it then holds.
func (t *Table) change(u *Upload, by func()) {
	before := u.holds()
	by()
	t.staged.add(u.holder(), u.holds()-before)
}
