package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
)

// user makes a user without a password that anybody knows.
func (l *librig) user(name string, rights ...string) {
	l.t.Helper()
	n := acl.NewUser{Username: &name, Password: ptr("typed")}
	if len(rights) > 0 {
		raw, err := json.Marshal(rights)
		require.NoError(l.t, err)
		n.Rights = raw
	}
	_, err := l.asMain(&CreateUser{NewUser: n})
	require.NoError(l.t, err)
}

func setAccess(id, rules string) doctree.SetAccess {
	return doctree.SetAccess{ID: &id, AccessRules: json.RawMessage(rules)}
}

func userOp(user, action string) *OperateUser {
	return &OperateUser{UserOp: acl.UserOp{Username: &user, Action: action}}
}

func setStatus(user string, status int) *OperateUser {
	op := userOp(user, "set_status")
	op.Status = json.RawMessage(fmt.Sprint(status))
	return op
}

func login(user, typed string) *Login { return &Login{Username: user, Password: acl.HashTyped(typed)} }

// nobody is how a login comes: without a token.
func (l *librig) nobody(a DocAction) (DocResult, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no test waits for a delay
	return l.Document(ctx, DocCall{Peer: "192.0.2.1:9", Via: "test", Action: a})
}

func TestLogin(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	r, err := l.nobody(login("admin", adminTyped))
	token := want[*LoggedIn](t, r, err).Token
	ask := func(user, token string) error {
		_, err := l.Document(context.Background(), DocCall{Username: user, Token: token, Via: "test", Action: &GetRootDir{}})
		return err
	}
	require.NoError(t, ask("admin", token))
	refused(t, acl.CodeToken, nil, ask("bob", token))
	refused(t, acl.CodeToken, nil, ask("admin", token+"x"))
	refused(t, acl.CodeToken, nil, ask("", "main-token"))

	_, err = l.nobody(login("admin", "wrong"))
	refused(t, acl.CodeLogin, nil, err)
	_, err = l.nobody(login("nobody", adminTyped))
	refused(t, acl.CodeLogin, nil, err)
	_, err = l.nobody(&Login{Username: "admin"})
	refused(t, acl.CodeNoCredentials, nil, err)

	l.clock.Advance(time.Hour + 30*time.Second)
	refused(t, acl.CodeToken, nil, ask("admin", token))
	r, err = l.Document(context.Background(), DocCall{Username: "admin", Token: token, Via: "test", Action: RefreshToken{}})
	fresh := want[*Refreshed](t, r, err).Token
	require.NoError(t, ask("admin", fresh))
	l.clock.Advance(time.Minute)
	_, err = l.Document(context.Background(), DocCall{Username: "admin", Token: token, Via: "test", Action: RefreshToken{}})
	refused(t, acl.CodeToken, nil, err)

	all := strings.Join(l.lines(0), "\n")
	for _, secret := range []string{token, fresh, acl.HashTyped(adminTyped), "wrong"} {
		assert.NotContains(t, all, secret)
	}
	assert.Equal(t, 2, strings.Count(all, `"action":"login","params":{"username":"admin","password":"[redacted]"},"code":"bad_login"`)+
		strings.Count(all, `"action":"login","params":{"username":"nobody","password":"[redacted]"},"code":"bad_login"`))
}

func TestTokensAreRevoked(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]*OperateUser{
		"passwd":  {UserOp: acl.UserOp{Username: ptr("bob"), Action: "passwd", NewPwd: ptr("another")}},
		"delete":  userOp("bob", "delete"),
		"disable": setStatus("bob", 1),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(t)
			l.user("bob")
			l.clock.Advance(time.Microsecond)
			token := l.token("bob")
			ask := func() error {
				_, err := l.Document(context.Background(), DocCall{Username: "bob", Token: token, Via: "test", Action: &GetRootDir{}})
				return err
			}
			require.NoError(t, ask())
			l.clock.Advance(time.Second)
			_, err := l.asMain(revoke)
			require.NoError(t, err)
			refused(t, acl.CodeToken, nil, ask())
			if name == "delete" {
				l.user("bob")
				refused(t, acl.CodeToken, nil, ask())
			}
		})
	}
}

// Changing one's own password hands out a token that is good, and nothing else
// of what was handed out before is.
func TestChangingOnesOwnPassword(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.asked = true
	r, err := l.as("admin", &OperateUser{UserOp: acl.UserOp{Action: "passwd", NewPwd: ptr("another")}})
	token := want[*PasswordSet](t, r, err).Token
	_, err = l.Document(context.Background(), DocCall{Username: "admin", Token: token, Via: "test", Action: &GetRootDir{}})
	require.NoError(t, err)
	assert.True(t, l.retired, "the file with the first password is no longer true")
	_, err = l.nobody(login("admin", adminTyped))
	refused(t, acl.CodeLogin, nil, err)
	r, err = l.nobody(login("admin", "another"))
	want[*LoggedIn](t, r, err)
	assert.NotContains(t, strings.Join(l.lines(0), "\n"), "another")
}

func TestLockout(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.user("bob")
	fail := func(user string) error {
		_, err := l.nobody(login(user, "wrong"))
		return err
	}
	for range 5 {
		refused(t, acl.CodeLogin, nil, fail("bob"))
	}
	from := l.log.Head().Size
	for range 3 {
		err := fail("bob")
		var refusal *acl.Refusal
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, &acl.Refusal{Code: acl.CodeLoginBlocked, RetryAfter: 30}, refusal)
	}
	assert.Len(t, l.lines(from), 1, "the block is one record, the tries during it are none")
	r, err := l.nobody(login("admin", adminTyped))
	want[*LoggedIn](t, r, err)
	l.clock.Advance(31 * time.Second)
	refused(t, acl.CodeLogin, nil, fail("bob"))
	var refusal *acl.Refusal
	require.ErrorAs(t, fail("bob"), &refusal)
	assert.Equal(t, int64(60), refusal.RetryAfter, "each further failure lengthens the next block")
	l.clock.Advance(61 * time.Second)
	r, err = l.nobody(login("bob", "typed"))
	want[*LoggedIn](t, r, err)
	refused(t, acl.CodeLogin, nil, fail("bob"))
}

// One address may be many people: it is blocked only after four times as many
// failures.
func TestLockoutOfAnAddress(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for i := range 20 {
		_, err := l.nobody(login(fmt.Sprint("guess", i), "wrong"))
		refused(t, acl.CodeLogin, nil, err)
	}
	_, err := l.nobody(login("admin", adminTyped))
	refused(t, acl.CodeLoginBlocked, nil, err)
	r, err := l.Document(context.Background(), DocCall{Peer: "192.0.2.7:1", Via: "test", Action: login("admin", adminTyped)})
	want[*LoggedIn](t, r, err)
	l.clock.Advance(addressMemory + 31*time.Second)
	_, err = l.nobody(login("guess", "wrong"))
	refused(t, acl.CodeLogin, nil, err)
	r, err = l.nobody(login("admin", adminTyped))
	want[*LoggedIn](t, r, err)
}

// Every request leaves exactly one record of itself, with its facts in the same
// commit, refused ones too.
func TestEveryDocumentRequestIsRecorded(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.create("doc")
	record := func(a DocAction) []string {
		from := l.log.Head().Size
		_, _ = l.as("admin", a)
		return l.lines(from)
	}
	for _, a := range []DocAction{
		fileOp("doc", "rename"), fileOp("none", "read"), &GetDir{DirID: ptr("none")}, &GetRootDir{}, &CreateDir{NewDir: doctree.NewDir{Name: ptr("d")}},
		&GetPolicy{ID: ptr("recycle")}, &SetPolicy{ID: ptr("none")}, &GetAvatar{Username: ptr("admin")}, &GetAccess{ID: ptr("")},
		&SetAccess{SetAccess: setAccess("none", `{}`)}, &UserProperties{HasData: true}, &CreateGroup{}, userOp("admin", "get_publickey"),
		&CreateUser{NewUser: acl.NewUser{Username: ptr("ann"), Password: ptr("SECRET")}}, &FileRevisions{RevisionsOp: doctree.RevisionsOp{FileID: ptr("doc")}},
		&BadArguments{Request: "createDir"}, Shutdown{}, dirOp("none", "list"),
	} {
		lines := record(a)
		require.NotEmpty(t, lines, a.Name())
		about := 0
		for i, line := range lines {
			assert.NotContains(t, line, "SECRET")
			assert.Contains(t, line, `"actor":"admin","via":"test","ref":"`)
			if strings.Contains(line, `"kind":"action.`) {
				about++
				assert.Contains(t, line, `"action":"`+a.Name()+`"`)
				assert.Contains(t, line, `"jti":"`)
			}
			if len(lines) > 1 {
				assert.Contains(t, line, fmt.Sprintf(`"grp":[%d,%d]`, i+1, len(lines)))
			}
		}
		assert.Equal(t, 1, about, "%s: %v", a.Name(), lines)
	}
}

// What does not fit the journal is refused, recorded by its digest, and does
// nothing else.
func TestRequestsThatDoNotFitARecord(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.create("doc")
	deep := strings.Repeat(`[`, 63) + strings.Repeat(`]`, 63)
	for name, rules := range map[string]string{
		"deep": `{"x":` + deep + `}`,
		"huge": `{"x":99999999999999999999}`,
		"long": `{"x":"` + strings.Repeat("x", 60_000) + `"}`,
	} {
		_, err := l.as("admin", &SetAccess{SetAccess: setAccess("doc", rules)})
		require.Error(t, err, name)
		_, err = l.as("admin", &SetPolicy{ID: ptr("recycle"), Content: json.RawMessage(rules)})
		require.Error(t, err, name)
	}
	_, err := l.as("admin", &GetRootDir{})
	require.NoError(t, err, "the daemon goes on")
}

func TestMainTokenActsAsSysop(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	r, err := l.asMain(&CreateDir{NewDir: doctree.NewDir{Name: ptr("d"), DirID: ptr("d")}})
	assert.Equal(t, "d", want[*DirCreated](t, r, err).ID)
	lines := l.lines(0)
	assert.Contains(t, lines[len(lines)-1], `"actor":"main"`)
	_, err = l.asMain(&CreateUser{NewUser: acl.NewUser{Username: ptr("main"), Password: ptr("x")}})
	refused(t, acl.CodeUserExists, nil, err)
	_, err = l.Document(context.Background(), DocCall{Token: "main-token", Peer: "192.0.2.1:1", Via: "test", Action: &GetRootDir{}})
	refused(t, acl.CodeToken, nil, err)
	_, err = l.asMain(RefreshToken{})
	refused(t, acl.CodeToken, nil, err)
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	l := bareLibrary(t)
	l.mustStart()
	before, err := l.StateJSON()
	require.NoError(t, err)
	assert.Contains(t, string(before), `"permission_on_rootdir"`)
	n := len(l.records("user.created"))
	l.close()
	l.mustStart()
	assert.Len(t, l.records("user.created"), n, "only once")

	l.close()
	l.rig.library = func() (*Library, error) {
		lib, err := l.open()
		if err == nil {
			lib.SampleData, lib.AdminPassword = true, "reset"
		}
		return lib, err
	}
	l.mustStart()
	r, err := l.nobody(login("admin", "reset"))
	want[*LoggedIn](t, r, err)
	assert.Equal(t, sampleText, l.mustRead("admin", "C00001"))
	head := l.log.Head().Size
	l.close()
	l.mustStart()
	assert.Equal(t, head+2, l.log.Head().Size, "stopped and started, and nothing that was done already")
}

func TestAvatars(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	avatar := func() string {
		r, err := l.as("admin", &GetAvatar{Username: ptr("admin")})
		o := want[*TaskOpened](t, r, err)
		assert.Empty(t, o.Key)
		from, err := l.task(o).Read()
		require.NoError(t, err)
		defer from.Close()
		data := make([]byte, from.Size())
		_, err = from.Read(data)
		require.NoError(t, err)
		return string(data)
	}
	assert.Equal(t, string(avatarPNG), avatar())
	l.create("face")
	_, err := l.write("admin", "face", []byte("a picture"))
	require.NoError(t, err)
	_, err = l.as("admin", &OperateUser{UserOp: acl.UserOp{Action: "set_avatar", FileID: ptr("face")}})
	require.NoError(t, err)
	assert.Equal(t, "a picture", avatar())
	_, err = l.as("admin", fileOp("face", "delete"))
	require.NoError(t, err)
	assert.Equal(t, string(avatarPNG), avatar())
}

// What costs a stranger nothing to try is recorded at a bounded rate and counted
// beyond it: nobody can fill the disk by it.
func TestStrangersDoNotFillTheJournal(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	from := l.log.Head().Size
	for range 200 {
		_, err := l.nobody(&Login{})
		refused(t, acl.CodeNoCredentials, nil, err)
		_, err = l.Document(context.Background(), DocCall{Username: "admin", Token: "x", Peer: "192.0.2.1", Via: "test", Action: RefreshToken{}})
		refused(t, acl.CodeToken, nil, err)
		_, err = l.Document(context.Background(), DocCall{Username: "admin", Token: "x", Peer: "192.0.2.1", Via: "test", Action: &GetRootDir{}})
		refused(t, acl.CodeToken, nil, err)
	}
	assert.LessOrEqual(t, l.log.Head().Size-from, uint64(unprovenBurst+1))
	l.clock.Advance(refusedEvery)
	require.NoError(t, l.reap(l.clock.Now()))
	last := l.lines(l.log.Head().Size - 1)[0]
	assert.Contains(t, last, `"document token":200`)
	assert.Contains(t, last, `"login":200`)
	assert.Contains(t, last, `"refreshToken":200`)
}

// Tries that come all at one time are not all let through: of those that are
// being compared when the block comes, some are.
func TestLockoutOfTriesAtOneTime(t *testing.T) {
	t.Parallel()
	l := bareLibrary(t) // where hashing takes its time: the tries do meet
	l.mustStart()
	var tried, blocked atomic.Int64
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			switch _, err := l.nobody(login("admin", "wrong")); {
			case errors.Is(err, acl.CodeLogin):
				tried.Add(1)
			case errors.Is(err, acl.CodeLoginBlocked):
				blocked.Add(1)
			}
		})
	}
	all.Wait()
	assert.LessOrEqual(t, tried.Load(), int64(5+maxArgon-1))
	assert.Equal(t, int64(60), tried.Load()+blocked.Load())
}

// A name that nobody can have is not kept whole, in the journal or in memory.
func TestLongNamesOfStrangers(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	from := l.log.Head().Size
	long := strings.Repeat("x", 30_000)
	_, err := l.nobody(&Login{Username: long})
	refused(t, acl.CodeNoCredentials, nil, err)
	_, err = l.nobody(login(long, "wrong"))
	refused(t, acl.CodeLogin, nil, err)
	_, err = l.Document(context.Background(), DocCall{Username: long, Token: "x", Via: "test", Action: RefreshToken{}})
	refused(t, acl.CodeToken, nil, err)
	for _, line := range l.lines(from) {
		assert.Less(t, len(line), 600)
	}
	l.guard.mu.Lock()
	defer l.guard.mu.Unlock()
	for key := range l.guard.accounts {
		assert.LessOrEqual(t, len(key.account), maxClaimedName)
	}
}

// A user who is deleted just when one of the same name is made never ends up
// without a password.
func TestNoUserWithoutAPassword(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for range 30 {
		l.user("bob")
		_, _ = both(
			func() error { _, err := l.asMain(userOp("bob", "delete")); return err },
			func() error {
				_, err := l.asMain(&CreateUser{NewUser: acl.NewUser{Username: ptr("bob"), Password: ptr("typed")}})
				return err
			},
		)
		require.NoError(t, l.core.view(func(s *State) {
			if u, ok := s.accounts.User("bob"); ok {
				assert.NotEmpty(t, u.Verifier)
			}
		}))
		_, _ = l.asMain(userOp("bob", "delete"))
	}
	// And as it must go if the obstacle vanishes between looking and deciding.
	var asked []string
	r, err := l.hashed(false, ptr("typed"), func(verifier string) (DocResult, error) {
		if asked = append(asked, verifier); verifier == "" {
			return nil, errUnhashed
		}
		return Done{}, nil
	})
	want[Done](t, r, err)
	require.Len(t, asked, 2)
	assert.True(t, l.passwords.Check(acl.HashTyped("typed"), asked[1]))
}

// The token for one's own new password is as old as the mark it follows: whoever
// resets the password before it has been handed out voids it, too.
func TestATokenIsNoYoungerThanItsPassword(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.close()
	var resetErr error
	armed := false
	l.rig.library = func() (*Library, error) {
		lib, err := l.open()
		if err != nil {
			return nil, err
		}
		// It is called between the decision and the answer.
		lib.AdminPasswordChanged = func(func(string) bool) error {
			if armed {
				armed = false // the reset asks again
				_, resetErr = l.asMain(&OperateUser{UserOp: acl.UserOp{Username: ptr("admin"), Action: "passwd", NewPwd: ptr("reset")}})
			}
			return nil
		}
		return lib, nil
	}
	l.mustStart()
	armed = true
	r, err := l.as("admin", &OperateUser{UserOp: acl.UserOp{Action: "passwd", NewPwd: ptr("another")}})
	token := want[*PasswordSet](t, r, err).Token
	require.NoError(t, resetErr)
	_, err = l.Document(context.Background(), DocCall{Username: "admin", Token: token, Via: "test", Action: &GetRootDir{}})
	refused(t, acl.CodeToken, nil, err)
}
