package daemon

import "slices"

// order decides when the requests of one connection may run. Requests that
// share a key take effect in arrival order (PROTOCOL.md §1): a chunk may run
// once every request before it was a chunk whose bytes have been taken;
// anything else once every request before it has its reply. Requests without
// a common key do not wait for each other.
//
// It is a plain structure: its owner guards it and runs what it returns.
type order struct {
	chains map[string][]*turn
}

// turn is one request's place in the chains of its keys.
type turn struct {
	keys [2]string // "" is none
	// chunk marks requests that are looked at one by one but answered
	// together.
	chunk bool
	// of is the request, for the owner.
	of *ticket

	taken  bool
	waits  int // chains in which something is still before it
	passed [2]bool
}

// add puts t at the end of its chains and reports whether it may run at once.
func (o *order) add(t *turn) (run bool) {
	for i, key := range t.keys {
		if key == "" || i > 0 && key == t.keys[0] {
			t.keys[i] = ""
			continue
		}
		if o.chains == nil {
			o.chains = make(map[string][]*turn)
		}
		chain := o.chains[key]
		if mayPass(chain, t) {
			t.passed[i] = true
		} else {
			t.waits++
		}
		o.chains[key] = append(chain, t)
	}
	return t.waits == 0
}

// mayPass reports whether t may run after the requests before it.
func mayPass(before []*turn, t *turn) bool {
	if !t.chunk {
		return len(before) == 0
	}
	for _, b := range before {
		if !b.chunk || !b.taken {
			return false
		}
	}
	return true
}

// took notes that a chunk's bytes were taken and appends to run what may run
// now. It may be called again.
func (o *order) took(t *turn, run []*turn) []*turn {
	if t.taken {
		return run
	}
	t.taken = true
	return o.advance(t, run)
}

// done removes t, whose reply is on its way, and appends to run what may run
// now.
func (o *order) done(t *turn, run []*turn) []*turn {
	for _, key := range t.keys {
		if key == "" {
			continue
		}
		chain := o.chains[key]
		if i := slices.Index(chain, t); i >= 0 {
			chain = slices.Delete(chain, i, i+1)
		}
		if len(chain) == 0 {
			delete(o.chains, key)
		} else {
			o.chains[key] = chain
		}
	}
	if len(o.chains) == 0 {
		o.chains = nil // an idle connection keeps no map
	}
	return o.advance(t, run)
}

// advance lets pass what stood behind t in any of its chains.
func (o *order) advance(t *turn, run []*turn) []*turn {
	for _, key := range t.keys {
		if key == "" {
			continue
		}
		chain := o.chains[key]
		for i, next := range chain {
			at := slices.Index(next.keys[:], key)
			if !next.passed[at] {
				if i > 0 && !next.chunk {
					break
				}
				next.passed[at] = true
				if next.waits--; next.waits == 0 {
					run = append(run, next)
				}
			}
			if !next.chunk || !next.taken {
				break
			}
		}
	}
	return run
}
