package actions

import (
	"sync"
	"time"

	"waybill/fsview/doctree"
)

// guard slows down who guesses passwords (CFMS.md §3.1). What it knows lives in
// memory and is forgotten by a restart: nobody is blocked for good by what
// strangers do.
type guard struct {
	mu sync.Mutex
	// accounts counts failures in a row by account and address, addresses by
	// address over all accounts.
	accounts  map[accountAt]*failures
	addresses map[string]*failures
	// swept is when what is stale was last looked for.
	swept time.Time
}

type accountAt struct{ account, address string }

// failures are those in a row of one account or address.
type failures struct {
	n     int
	last  time.Time
	until time.Time
	// told: the block is in the journal.
	told bool
}

// lockouts are the two rules in force.
type lockouts struct{ account, address doctree.Lockout }

// patient is by how many times more failures an address is blocked than the
// policy says: many people may share one.
const patient = 4

// blocked is for how long a login is not even looked at, and whether this is the
// first time it is told.
func (g *guard) blocked(account, address string, rules lockouts, now time.Time) (d time.Duration, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetLocked(now)
	for _, f := range []*failures{g.accounts[accountAt{account, address}], g.addresses[address]} {
		if f == nil || !f.until.After(now) {
			continue
		}
		if left := f.until.Sub(now); left > d {
			d, first = left, !f.told
			f.told = true
		}
	}
	return d, first
}

// failed counts a wrong password.
func (g *guard) failed(account, address string, rules lockouts, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.accounts == nil {
		g.accounts, g.addresses = make(map[accountAt]*failures), make(map[string]*failures)
	}
	count(g.accounts, accountAt{account, address}, rules.account, 1, now)
	count(g.addresses, address, rules.address, patient, now)
}

func count[K comparable](m map[K]*failures, key K, rule doctree.Lockout, times int, now time.Time) {
	if !rule.Enabled {
		return
	}
	f := m[key]
	if f != nil && times > 1 && now.Sub(f.last) >= addressMemory && !f.until.After(now) {
		f.n = 0
	}
	if f == nil {
		if len(m) >= maxGuarded {
			return // a flood from more addresses than can be remembered: the delay is left
		}
		f = new(failures)
		m[key] = f
	}
	f.n++
	f.last = now
	if over := f.n - rule.After*times; over >= 0 {
		block := min(rule.Block+over*rule.Plus, max(rule.Max, rule.Block))
		f.until, f.told = now.Add(time.Duration(block)*time.Second), false
	}
}

// succeeded clears the account's count at this address.
func (g *guard) succeeded(account, address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.accounts, accountAt{account, address})
}

// forgetLocked drops counts that no longer say anything.
func (g *guard) forgetLocked(now time.Time) {
	if now.Sub(g.swept) < guardSweep {
		return
	}
	g.swept = now
	forget(g.accounts, now, accountMemory)
	forget(g.addresses, now, addressMemory)
}

func forget[K comparable](m map[K]*failures, now time.Time, memory time.Duration) {
	for key, f := range m {
		if !f.until.After(now) && now.Sub(f.last) >= memory {
			delete(m, key)
		}
	}
}
