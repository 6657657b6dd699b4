package actions

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"waybill/fsview/acl"
	"waybill/journal"
)

// login checks a password and gives out a token. Whatever is wrong is one and
// the same answer; who is blocked is not even asked (CFMS.md §3.1).
func (e *Engine) login(c *docCall, a *Login) (DocResult, error) {
	if a.Username == "" || a.Password == "" {
		return nil, e.refuseCheap(c, acl.CodeNoCredentials)
	}
	var rules lockouts
	var verifier string
	err := e.core.view(func(s *State) {
		rules.account, rules.address = s.tree.Lockout()
		if u, ok := s.accounts.User(a.Username); ok && u.State == 0 {
			verifier = u.Verifier
		}
	})
	if err != nil {
		return nil, err
	}
	peer := network(c.Peer)
	account := shortName(a.Username)
	wait, first, right := e.tryPassword(a.Password, verifier, account, peer, rules)
	switch {
	case wait > 0 && first:
		return nil, e.refuseLogin(c, &acl.Refusal{Code: acl.CodeLoginBlocked, RetryAfter: seconds(wait)})
	case wait > 0:
		e.CountRefused("login blocked", c.Peer)
		return nil, &acl.Refusal{Code: acl.CodeLoginBlocked, RetryAfter: seconds(wait)}
	case !right:
		return nil, e.refuseLogin(c, &acl.Refusal{Code: acl.CodeLogin})
	}
	result, err := e.issue(c, a.Username, func(u acl.User) bool { return u.State == 0 && u.Verifier == verifier })
	if errors.Is(err, acl.CodeToken) { // disabled, or another password, meanwhile
		return nil, e.refuseLogin(c, &acl.Refusal{Code: acl.CodeLogin})
	}
	if err != nil {
		return nil, err
	}
	e.guard.succeeded(account, peer)
	return &LoggedIn{Token: result}, nil
}

// tryPassword compares a password with a verifier, unless the account or the
// address is blocked. "" stands for a user who does not exist, and costs the
// same. Whether there is a block is asked when it is this one's turn, so that
// many tries at one time are not all let through; a failure is counted before
// the next one's turn comes.
func (e *Engine) tryPassword(hash, verifier, account, peer string, rules lockouts) (wait time.Duration, first, right bool) {
	if wait, first = e.guard.blocked(account, peer, rules, e.cfg.Now()); wait > 0 {
		return wait, first, false
	}
	// Each takes 19 MiB and a processor: they wait for each other, not for
	// memory. Nothing else waits for them. A background context never ends.
	_ = e.argon.Acquire(context.Background(), 1)
	defer e.argon.Release(1)
	if wait, first = e.guard.blocked(account, peer, rules, e.cfg.Now()); wait > 0 {
		return wait, first, false
	}
	if passwords := e.cfg.Library.Passwords; verifier == "" {
		passwords.Check(hash, passwords.Dummy())
	} else {
		right = passwords.Check(hash, verifier)
	}
	if !right {
		e.guard.failed(account, peer, rules, e.cfg.Now())
	}
	return 0, false, right
}

// shortName cuts a claimed name that nobody can have: strangers choose it, and
// it is kept in records and in memory.
func shortName(name string) string {
	return name[:min(len(name), maxClaimedName)]
}

// newVerifier makes what is kept of a typed password.
func (e *Engine) newVerifier(typed string) (string, error) {
	if err := e.argon.Acquire(context.Background(), 1); err != nil {
		return "", err
	}
	defer e.argon.Release(1)
	return e.cfg.Library.Passwords.Verifier(acl.HashTyped(typed), newSalt()), nil
}

// issue signs a token for a user whom good still accepts, and records that it
// did. CodeToken if not.
func (e *Engine) issue(c *docCall, name string, good func(acl.User) bool) (string, error) {
	jti := uuid.NewString()
	var issued int64
	err := e.core.decide(origin{name, c.Via, c.Ref}, func(s *State) ([]journal.Fact, error) {
		u, ok := s.accounts.User(name)
		if !ok || !good(u) {
			return nil, acl.CodeToken
		}
		// Never before the mark: a token that is handed out must be good.
		issued = max(s.clock(e.cfg.Now()).UnixMicro(), u.NotBefore)
		body := c.body(CodeOK)
		body.JTI = jti
		return []journal.Fact{journal.NewFact(KindAnswered, body)}, nil
	})
	if err != nil {
		return "", err
	}
	return acl.SignToken(e.cfg.Library.TokenSecret, name, jti, issued)
}

// refuseLogin records a login or refresh that failed, by whom it claimed to be,
// and returns the refusal.
func (e *Engine) refuseLogin(c *docCall, refusal *acl.Refusal) error {
	e.CountRefused(c.Action.Name(), c.Peer)
	body := c.body(Code(refusal.Code))
	body.User, body.Retry, body.JTI = shortName(c.Username), refusal.RetryAfter, ""
	if err := e.record(origin{unknownActor, c.Via, c.Ref}, KindRefused, body); err != nil {
		return err
	}
	return refusal
}

// refuseCheap is refuseLogin for what costs a stranger nothing to try, no time
// either: beyond a rate it is only counted, or strangers could fill the disk.
func (e *Engine) refuseCheap(c *docCall, code acl.Code) error {
	if !e.unproven.Allow() {
		e.CountRefused(c.Action.Name(), c.Peer)
		return code
	}
	return e.refuseLogin(c, &acl.Refusal{Code: code})
}

// refreshToken gives a new token for one that is good or has just expired.
func (e *Engine) refreshToken(c *docCall) (DocResult, error) {
	err := e.authenticate(c, refreshLeeway)
	if err == nil && c.main {
		err = acl.CodeToken // it does not expire, and no user's token can stand for it
	}
	var token string
	if err == nil {
		issued := c.claims.Issued
		token, err = e.issue(c, c.Username, func(u acl.User) bool { return u.State == 0 && issued >= u.NotBefore })
	}
	if errors.Is(err, acl.CodeToken) {
		return nil, e.refuseCheap(c, acl.CodeToken)
	}
	if err != nil {
		return nil, err
	}
	return &Refreshed{Token: token}, nil
}

// loginDelay is how long the answer to a login that was refused has to wait.
func (e *Engine) loginDelay(a DocAction, err error) time.Duration {
	if _, ok := a.(*Login); !ok || err == nil {
		return 0
	}
	if !errors.Is(err, acl.CodeLogin) && !errors.Is(err, acl.CodeLoginBlocked) {
		return 0
	}
	var d time.Duration
	if verr := e.core.view(func(s *State) { d = s.tree.LoginDelay() }); verr != nil {
		return 0 // the daemon is ending
	}
	return d
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
