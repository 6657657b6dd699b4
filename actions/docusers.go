package actions

import (
	"errors"

	"github.com/google/uuid"

	"waybill/fsview/acl"
	"waybill/journal"
)

// createUser makes a user. The password is hashed only once it is clear that
// the request would succeed otherwise, and then all of it is decided again.
func (e *Engine) createUser(c *docCall, a *CreateUser) (DocResult, error) {
	create := func(s *State, who *acl.Subject, verifier string) ([]journal.Fact, error) {
		n := a.NewUser
		n.Defaults, n.Verifier = s.userDefaults(), verifier
		return s.accounts.CreateUser(who, n, s.clock(e.cfg.Now()).UnixMicro())
	}
	would, err := e.would(c, func(s *State, who *acl.Subject, _ float64) error {
		_, err := create(s, who, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.hashed(would, a.Password, func(verifier string) (DocResult, error) {
		return e.decideDoc(c, func(s *State, who *acl.Subject, _ float64) ([]journal.Fact, DocResult, error) {
			facts, err := create(s, who, verifier)
			if err == nil && verifier == "" {
				err = errUnhashed
			}
			return facts, Done{}, err
		})
	})
}

// errUnhashed takes back a decision that would keep a password which has not
// been hashed: it would have been refused a moment before. It is no refusal, and
// nobody is told.
var errUnhashed = errors.New("the password has not been hashed")

// hashed decides with the verifier of a typed password. It is made at once if
// the request would succeed as things stand, and else only if they have changed
// when it is decided.
func (e *Engine) hashed(would bool, typed *string, decide func(verifier string) (DocResult, error)) (DocResult, error) {
	verifier := ""
	if !would {
		if result, err := decide(verifier); !errors.Is(err, errUnhashed) {
			return result, err
		}
	}
	verifier, err := e.newVerifier(*typed)
	if err != nil {
		return nil, err
	}
	return decide(verifier)
}

// would tells whether a request would succeed as things stand.
func (e *Engine) would(c *docCall, try func(s *State, who *acl.Subject, now float64) error) (would bool, err error) {
	err = e.core.view(func(s *State) {
		now := s.seconds(e.cfg.Now())
		who, err := c.subject(s, now)
		would = err == nil && try(s, who, now) == nil
	})
	return would, err
}

// operateUser does something to a user.
func (e *Engine) operateUser(c *docCall, a *OperateUser) (DocResult, error) {
	operate := func(s *State, who *acl.Subject, now float64, verifier string) (acl.UserOutcome, error) {
		op := a.UserOp
		op.Verifier = verifier
		op.AvatarCheck = func(file string) error { return s.tree.AvatarReadable(who, file, now) }
		return s.accounts.OperateUser(who, op, now, s.clock(e.cfg.Now()).UnixMicro())
	}
	var out acl.UserOutcome
	var ended endedTasks
	var issued int64
	jti := uuid.NewString()
	decide := func(verifier string) (DocResult, error) {
		return e.decideDoc(c, func(s *State, who *acl.Subject, now float64) (facts []journal.Fact, _ DocResult, err error) {
			ended = endedTasks{}
			if out, err = operate(s, who, now, verifier); err != nil {
				return nil, nil, err
			}
			if out.NewMark != 0 && verifier == "" {
				return nil, nil, errUnhashed
			}
			if c.issued = ""; out.NewMark != 0 && out.Self {
				// With this very mark: one that follows voids this token, too.
				c.issued, issued = jti, max(s.clock(e.cfg.Now()).UnixMicro(), out.NewMark)
			}
			if out.Revoked {
				if facts, err = ended.ofUser(s, out.User); err != nil {
					return nil, nil, err
				}
			}
			return append(out.Facts, facts...), nil, nil
		})
	}
	var err error
	if a.Action == "passwd" && a.NewPwd != nil {
		var would bool
		would, err = e.would(c, func(s *State, who *acl.Subject, now float64) error {
			_, err := operate(s, who, now, "")
			return err
		})
		if err == nil {
			_, err = e.hashed(would, a.NewPwd, decide)
		}
	} else {
		_, err = decide("")
	}
	if err != nil {
		return nil, err
	}
	e.tasksEnded(&ended)
	return e.userResult(c, a, out, issued)
}

// userResult is the answer, with a new token for whoever has changed the own
// password: the earlier ones have just been revoked.
func (e *Engine) userResult(c *docCall, a *OperateUser, out acl.UserOutcome, issued int64) (DocResult, error) {
	switch {
	case a.Action == "get_publickey":
		return &PublicKey{PEM: out.PublicKey}, nil
	case out.NewMark == 0:
		return Done{}, nil
	}
	if out.User == adminName {
		if err := e.forgetAdminPassword(); err != nil {
			e.cfg.Logger.Error().Err(err).Msg("remove the file with the first admin password")
		}
	}
	if !out.Self {
		return &PasswordSet{}, nil
	}
	token, err := acl.SignToken(e.cfg.Library.TokenSecret, out.User, c.issued, issued)
	return &PasswordSet{Token: token}, err
}
