package actions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"waybill/fsview/acl"
	"waybill/journal"
)

// DocCall is one request of the document library.
type DocCall struct {
	// Username and Token are the claim that came with it; "" for login.
	Username, Token string
	// Peer is the address it came from, with or without a port. Local tells that
	// this is the same machine: only there does the main token count.
	Peer  string
	Local bool
	// Via is the transport and the peer, "cfms 127.0.0.1:51034", and Ref what
	// its records are found by, "" for a fresh UUID.
	Via, Ref string
	Action   DocAction
}

// docCall is a DocCall on its way.
type docCall struct {
	DocCall
	// claims are those of the token, once it has been verified.
	claims acl.Claims
	main   bool
	params json.RawMessage
	// issued is the id of the token that the answer will hold, "" for none.
	issued string
}

// rule decides a request: the facts it leaves, and its answer. It is pure, and
// may run more than once.
type rule func(s *State, who *acl.Subject, now float64) ([]journal.Fact, DocResult, error)

// Document runs one request of the document library and returns when its answer
// may leave: what it says is durable, its record too. Errors are *acl.Refusal,
// ErrStopping, or ErrFailed. A refused login is answered late (CFMS.md §3.1);
// ctx ends that wait, and nothing else.
func (e *Engine) Document(ctx context.Context, c DocCall) (DocResult, error) {
	if !e.enter() {
		return nil, ErrStopping
	}
	begun := time.Now()
	c.Ref = refOf(c.Ref)
	result, err := e.document(&docCall{DocCall: c})
	delay := e.loginDelay(c.Action, err)
	e.busy.Done()
	if errors.Is(err, ErrFailed) {
		return nil, err
	}
	code := CodeOK
	if err != nil {
		code = Code(docError(err).Code)
		if code == CodeUnexpected {
			e.cfg.Logger.Error().Err(err).Str("action", c.Action.Name()).Str("ref", c.Ref).Msg("request failed")
		}
		err = docError(err)
	}
	if e.cfg.Observe.Action != nil {
		e.cfg.Observe.Action(c.Action.Name(), code, time.Since(begun))
	}
	wait(ctx, delay)
	return result, err
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Knows tells whether the answer to a request shows that the asker is known:
// its token was good, or it got one.
func Knows(a DocAction, err error) bool {
	switch a.(type) {
	case *Login, RefreshToken:
		return err == nil
	}
	_, refused := errors.AsType[*acl.Refusal](err)
	return err == nil || refused && !errors.Is(err, acl.CodeToken)
}

func (e *Engine) document(c *docCall) (DocResult, error) {
	if e.cfg.Library == nil {
		return nil, acl.CodeUnexpected
	}
	c.params = recordedDoc(c.Action)
	switch a := c.Action.(type) {
	case *Login:
		return e.login(c, a)
	case RefreshToken:
		return e.refreshToken(c)
	}
	if err := e.authenticate(c, 0); err != nil {
		e.CountRefused("document token", c.Peer)
		return nil, err
	}
	switch a := c.Action.(type) {
	case *CreateUser:
		return e.createUser(c, a)
	case *OperateUser:
		return e.operateUser(c, a)
	case *OperateFile:
		return e.operateFile(c, a)
	case *CreateFile:
		return e.createFile(c, a)
	case *OperateDir:
		return e.operateDir(c, a.DirOp, false)
	case *GetDir:
		return e.getDir(c, a)
	case *GetRootDir:
		return e.getRootDir(c, a)
	case *GetAvatar:
		return e.getAvatar(c, a)
	case Shutdown:
		return e.shutdown(c)
	}
	return e.decideDoc(c, e.ruleOf(c.Action))
}

// authenticate verifies the token of a call: what needs no state of it.
// decideDoc does the rest. leeway is how many seconds ago it may have expired.
func (e *Engine) authenticate(c *docCall, leeway int64) error {
	l := e.cfg.Library
	if c.Username == "" {
		// The main token, on this machine only, stands for no user.
		c.main = c.Local && l.IsMain(c.Token)
	} else if claims, err := acl.VerifyToken(l.TokenSecret, c.Token, e.cfg.Now().UnixMicro(), leeway); err == nil && claims.Subject == c.Username {
		c.claims = claims
		return nil
	}
	if !c.main {
		return acl.CodeToken
	}
	return nil
}

// subject is who asks, if the token is still good: the user exists, is enabled,
// and has revoked no tokens since it was issued.
func (c *docCall) subject(s *State, now float64) (*acl.Subject, error) {
	if c.main {
		return s.accounts.Main(now), nil
	}
	if !s.accounts.Accepts(c.claims, c.Username) {
		return nil, acl.CodeToken
	}
	who, ok := s.accounts.Subject(c.Username, now)
	if !ok {
		return nil, acl.CodeToken
	}
	return who, nil
}

func (c *docCall) origin() origin {
	name := c.claims.Subject
	if c.main {
		name = acl.MainName
	}
	return origin{name, c.Via, c.Ref}
}

// decideDoc runs a request's rule in the core: who may, what follows and the
// record of the request are one decision and one commit. A refusal is recorded
// too, unless the token is not good.
func (e *Engine) decideDoc(c *docCall, r rule) (DocResult, error) {
	var result DocResult
	var refusal error
	err := e.core.decide(c.origin(), func(s *State) ([]journal.Fact, error) {
		now := s.seconds(e.cfg.Now())
		who, err := c.subject(s, now)
		if err != nil {
			return nil, err
		}
		var facts []journal.Fact
		facts, result, refusal = r(s, who, now)
		if errors.Is(refusal, errUnhashed) {
			return nil, refusal
		}
		if refusal != nil {
			return []journal.Fact{c.refused(refusal)}, nil
		}
		return append([]journal.Fact{c.answered()}, facts...), nil
	})
	if errors.Is(err, errUnrecordable) {
		// What the caller sent does not fit the journal: then it does not happen,
		// and the record has only its digest.
		c.params = summaryOf(c.params)
		if refusal == nil {
			refusal = fmt.Errorf("%w: %w", acl.CodeArguments, err)
		}
		err = e.core.decide(c.origin(), func(*State) ([]journal.Fact, error) {
			return []journal.Fact{c.refused(refusal)}, nil
		})
	}
	if errors.Is(err, acl.CodeToken) {
		e.CountRefused("document token", c.Peer)
	}
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		return nil, refusal
	}
	return result, nil
}

// docBody is the body of action.answered and action.refused for requests of the
// library.
type docBody struct {
	Action string `json:"action"`
	Params any    `json:"params,omitempty"`
	Code   Code   `json:"code"`
	// User is who the asker said to be, where that is not proven.
	User string `json:"user,omitempty"`
	// JTI is the id of the token that was shown, or that a login or refresh gave.
	JTI string `json:"jti,omitempty"`
	// Issued is the id of a token given out beside something else.
	Issued string `json:"issued,omitempty"`
	// Retry is for how many seconds a login is blocked from here on.
	Retry int64 `json:"retry_after,omitempty"`
}

func (c *docCall) body(code Code) docBody {
	b := docBody{Action: c.Action.Name(), Code: code, JTI: c.claims.ID}
	if c.params != nil {
		b.Params = c.params
	}
	return b
}

func (c *docCall) answered() journal.Fact {
	b := c.body(CodeOK)
	b.Issued = c.issued
	return journal.NewFact(KindAnswered, b)
}

func (c *docCall) refused(err error) journal.Fact {
	return journal.NewFact(KindRefused, c.body(Code(docError(err).Code)))
}

// maxDocParams is the longest form of a request's arguments that is recorded as
// it is: a whole record, with the facts' own copies elsewhere, stays below the
// journal's line limit.
const maxDocParams = 40_000

// recordedDoc is the arguments of a request as the journal gets them.
func recordedDoc(a DocAction) json.RawMessage {
	v := a.recorded()
	if v == nil {
		return nil
	}
	raw, err := marshal(v)
	if err != nil {
		// Raw JSON in it that is none: the wire lets nothing of the kind through.
		return summaryOf([]byte(err.Error()))
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) == nil {
		raw = compact.Bytes()
	}
	if len(raw) > maxDocParams {
		return summaryOf(raw)
	}
	return raw
}

func summaryOf(raw []byte) json.RawMessage {
	sum := sha256.Sum256(raw)
	return journal.NewFact("", struct {
		SHA256 string `json:"sha256"`
		Len    int    `json:"len"`
	}{hex.EncodeToString(sum[:]), len(raw)}).Body
}
