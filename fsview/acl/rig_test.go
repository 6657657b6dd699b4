package acl

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// now is the time of the tests, in seconds and in microseconds.
const (
	now  = 1_700_000_000.25
	nowU = 1_700_000_000_250_000
)

// book folds facts as the core does: rendered, read back, applied. At the end
// of a test a fresh fold of its lines must be the live state.
type book struct {
	*Accounts
	t     testing.TB
	lines [][]byte
}

func newBook(t testing.TB) *book {
	b := &book{Accounts: NewAccounts(), t: t}
	t.Cleanup(func() {
		fold := NewAccounts()
		for _, line := range b.lines {
			var e journal.Entry
			require.NoError(t, journal.ParseEntry(line, &e))
			require.NoError(t, fold.Apply(&e))
		}
		again, err := fold.MarshalJSON()
		require.NoError(t, err)
		assert.Equal(t, string(b.dump()), string(again), "a fresh fold is the live state")
	})
	return b
}

// newDaemon is a book with what a new daemon has, and bob, alice and a2 of
// CFMS.md §6.4.
func newDaemon(t testing.TB) *book {
	b := newBook(t)
	b.apply(Genesis("admin's", 1)...)
	b.create("bob", ``, ``)
	b.group("g", `{}`, true)
	b.create("alice", `["x"]`, `["g"]`)
	b.create("a2", ``, `["sysop"]`)
	return b
}

func (b *book) apply(facts ...journal.Fact) {
	b.t.Helper()
	for _, f := range facts {
		line := journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(len(b.lines)), At: time.UnixMicro(nowU), Kind: f.Kind, Actor: "a", Via: "test", Ref: "r", Body: f.Body,
		})
		var e journal.Entry
		require.NoError(b.t, journal.ParseEntry(line, &e), "%s", line)
		require.Less(b.t, len(line), journal.MaxLine)
		require.NoError(b.t, b.Apply(&e), "%s", line)
		b.lines = append(b.lines, line)
	}
}

func (b *book) dump() []byte {
	raw, err := b.MarshalJSON()
	require.NoError(b.t, err)
	return raw
}

// unchanged runs a decision, which must change nothing.
func (b *book) unchanged(decide func()) {
	b.t.Helper()
	before := b.dump()
	decide()
	require.Equal(b.t, string(before), string(b.dump()), "deciding changes nothing")
}

func (b *book) create(name, rights, groups string) {
	b.t.Helper()
	facts, err := b.CreateUser(b.Main(now), NewUser{
		Username: &name, Password: &name, Rights: given(rights), Groups: given(groups),
		Defaults: shippedUserDefaults(), Verifier: name + "'s",
	}, 2)
	require.NoError(b.t, err)
	b.apply(facts...)
}

func (b *book) group(name, rights string, enabled bool, members ...string) {
	b.t.Helper()
	on := json.RawMessage("0")
	if enabled {
		on = json.RawMessage("1")
	}
	list, err := json.Marshal(append([]string{}, members...))
	require.NoError(b.t, err)
	facts, failed, err := b.CreateGroup(b.Main(now), NewGroup{
		Name: &name, Rights: given(rights), Enabled: on, Members: list,
	}, GroupDefaults{}, now)
	require.NoError(b.t, err)
	require.Empty(b.t, failed)
	b.apply(facts...)
}

// operate decides, and applies what was decided.
func (b *book) operate(who *Subject, op UserOp) UserOutcome {
	b.t.Helper()
	out, err := b.OperateUser(who, op, now, nowU)
	require.NoError(b.t, err)
	b.apply(out.Facts...)
	return out
}

// as gives a user as rules see it.
func (b *book) as(name string) *Subject {
	b.t.Helper()
	s, ok := b.Subject(name, now)
	require.True(b.t, ok, name)
	return s
}

// given is what a client sent: "" for nothing.
func given(raw string) json.RawMessage {
	if raw == "" {
		return nil
	}
	return json.RawMessage(raw)
}

func set(names ...string) Set {
	s := make(Set)
	for _, n := range names {
		s[n] = struct{}{}
	}
	return s
}

// with is a subject named "op" with these rights, in group user.
func with(rights ...string) *Subject {
	return &Subject{Name: "op", Rights: set(rights...), Groups: set(GroupUser)}
}
