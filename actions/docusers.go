package actions

import (
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
	verifier := ""
	if would {
		if verifier, err = e.newVerifier(*a.Password); err != nil {
			return nil, err
		}
	}
	return e.decideDoc(c, func(s *State, who *acl.Subject, _ float64) ([]journal.Fact, DocResult, error) {
		facts, err := create(s, who, verifier)
		return facts, Done{}, err
	})
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
	verifier := ""
	if a.Action == "passwd" && a.NewPwd != nil {
		would, err := e.would(c, func(s *State, who *acl.Subject, now float64) error {
			_, err := operate(s, who, now, "")
			return err
		})
		if err != nil {
			return nil, err
		}
		if would {
			if verifier, err = e.newVerifier(*a.NewPwd); err != nil {
				return nil, err
			}
		}
	}
	var out acl.UserOutcome
	var ended endedTasks
	jti := uuid.NewString()
	_, err := e.decideDoc(c, func(s *State, who *acl.Subject, now float64) (facts []journal.Fact, _ DocResult, err error) {
		ended = endedTasks{}
		if out, err = operate(s, who, now, verifier); err != nil {
			return nil, nil, err
		}
		if c.issued = ""; out.NewMark && out.Self {
			c.issued = jti
		}
		if out.Revoked {
			if facts, err = ended.ofUser(s, out.User); err != nil {
				return nil, nil, err
			}
		}
		return append(out.Facts, facts...), nil, nil
	})
	if err != nil {
		return nil, err
	}
	e.tasksEnded(&ended)
	return e.userResult(c, a, out)
}

func (e *Engine) userResult(c *docCall, a *OperateUser, out acl.UserOutcome) (DocResult, error) {
	switch {
	case a.Action == "get_publickey":
		return &PublicKey{PEM: out.PublicKey}, nil
	case !out.NewMark:
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
	// The asker's own tokens have just been revoked: here is one that is good.
	var issued int64
	err := e.core.view(func(s *State) {
		u, _ := s.accounts.User(out.User)
		issued = max(s.clock(e.cfg.Now()).UnixMicro(), u.NotBefore)
	})
	if err != nil {
		return nil, err
	}
	token, err := acl.SignToken(e.cfg.Library.TokenSecret, out.User, c.issued, issued)
	return &PasswordSet{Token: token}, err
}
