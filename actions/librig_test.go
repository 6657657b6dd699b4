package actions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
)

// librig is a rig with a document library in it.
type librig struct {
	*rig
	secret     []byte
	passwords  acl.Passwords
	purgeEvery time.Duration

	mu sync.Mutex
	// asked: there is a file with the first admin password. retired: it is no
	// longer in force.
	asked, retired bool
}

const (
	adminTyped = "123456"
	// cheapKiB is what a password takes where it is not the subject: hashing would
	// be most of what hundreds of tests do.
	cheapKiB = 64
)

// newLibrary starts an engine with a new library, whose admin's password is
// adminTyped. Its state is a copy of one that was set up once, and hashing a
// password costs little.
func newLibrary(t testing.TB) *librig {
	l := bareLibrary(t)
	l.passwords.KiB = cheapKiB
	require.NoError(t, copyState(filepath.Join(l.dir, "state"), founded(t)))
	l.mustStart()
	return l
}

// bareLibrary has no state yet.
func bareLibrary(t testing.TB) *librig {
	l := &librig{rig: newRig(t), secret: bytes.Repeat([]byte("s"), 256)}
	l.passwords.Pepper = bytes.Repeat([]byte("p"), 32)
	l.rig.library = l.open
	l.rig.checks = append(l.rig.checks, l.check)
	l.rig.closing = l.hangUp
	return l
}

var foundedState struct {
	once sync.Once
	dir  string
	err  error
}

// founded is the state of a new library after a clean stop. TestMain removes it.
func founded(t testing.TB) string {
	f := &foundedState
	f.once.Do(func() {
		if f.dir, f.err = os.MkdirTemp(memory, "waybill-founded-"); f.err != nil {
			if f.dir, f.err = os.MkdirTemp("", "waybill-founded-"); f.err != nil {
				return
			}
		}
		l := bareLibrary(t)
		l.passwords.KiB = cheapKiB
		l.mustStart()
		l.close()
		f.err = copyState(f.dir, filepath.Join(l.dir, "state"))
	})
	require.NoError(t, f.err)
	return f.dir
}

// copyState copies a tree without the holes in its files: most of a segment of a
// journal is one.
func copyState(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return copySparse(target, path)
	})
}

func copySparse(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	for end := int64(0); ; {
		at, err := src.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole follows
			return dst.Truncate(info.Size())
		}
		if err != nil {
			return err
		}
		if end, err = src.Seek(at, unix.SEEK_HOLE); err != nil {
			return err
		}
		_, err = io.Copy(io.NewOffsetWriter(dst, at), io.NewSectionReader(src, at, end-at))
		if err != nil {
			return err
		}
	}
}

// hangUp ends the transfers that a test has left open, as a broken line does.
func (l *librig) hangUp() {
	for _, t := range l.liveTasks() {
		t.mu.Lock()
		w := t.writer
		readers := slices.Collect(maps.Keys(t.readers))
		t.mu.Unlock()
		if w != nil {
			_, _ = w.Keep()
		}
		for _, r := range readers {
			_ = r.Close()
		}
	}
}

func (l *librig) objects() string { return filepath.Join(l.dir, "state", "objects") }

func (l *librig) open() (*Library, error) {
	store, err := fsview.OpenContents(l.objects(), fsview.Options{StoreID: rigStore, Reserve: l.reserve, Fault: l.seams.files})
	if err != nil {
		return nil, err
	}
	return &Library{
		Contents: store, TokenSecret: l.secret, Passwords: l.passwords,
		IsMain:           func(token string) bool { return token == "main-token" },
		NewAdminPassword: func() (string, error) { return adminTyped, nil },
		AdminPasswordChanged: func(still func(string) bool) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.retired = l.asked && !still(adminTyped)
			return nil
		},
		HideNoAccess: true, PurgeEvery: l.purgeEvery,
	}, nil
}

// token is one that a login would give, without the price of hashing.
func (l *librig) token(user string) string {
	l.t.Helper()
	issued := l.clock.Now().UnixMicro()
	_ = l.core.view(func(s *State) { // an engine that has failed refuses any token
		u, _ := s.accounts.User(user)
		issued = max(issued, u.NotBefore)
	})
	token, err := acl.SignToken(l.secret, user, uuid.NewString(), issued)
	require.NoError(l.t, err)
	return token
}

func (l *librig) as(user string, a DocAction) (DocResult, error) {
	l.t.Helper()
	return l.Document(context.Background(), DocCall{
		Username: user, Token: l.token(user), Peer: "192.0.2.1:9", Via: "test", Action: a,
	})
}

// asMain asks with the main token.
func (l *librig) asMain(a DocAction) (DocResult, error) {
	return l.Document(context.Background(), DocCall{Token: "main-token", Local: true, Peer: "127.0.0.1:9", Via: "test", Action: a})
}

// want is the result of a request that has to succeed.
func want[R DocResult](t testing.TB, r DocResult, err error) R {
	t.Helper()
	require.NoError(t, err)
	got, ok := r.(R)
	require.True(t, ok, "%T", r)
	return got
}

func ptr[T any](v T) *T { return &v }

func newFile(id string) doctree.NewFile {
	return doctree.NewFile{FileID: &id, Filename: ptr(id + ".bin")}
}

func fileOp(id, action string) *OperateFile {
	return &OperateFile{FileOp: doctree.FileOp{FileID: &id, Action: &action}}
}

func dirOp(id, action string) *OperateDir {
	return &OperateDir{DirOp: doctree.DirOp{DirID: &id, Action: &action}}
}

// create makes a file in the root as admin, with its write task.
func (l *librig) create(id string) *TaskOpened {
	l.t.Helper()
	r, err := l.as("admin", &CreateFile{HasData: true, NewFile: newFile(id)})
	return want[*TaskOpened](l.t, r, err)
}

func (l *librig) task(o *TaskOpened) *Task {
	l.t.Helper()
	t, err := l.Engine.Task(TaskCall{ID: o.ID, Token: o.Token, Peer: "192.0.2.1:9", Via: "test"})
	require.NoError(l.t, err)
	return t
}

// upload brings a whole content into a write task.
func (l *librig) upload(o *TaskOpened, data []byte) (*Published, error) {
	t, err := l.Engine.Task(TaskCall{ID: o.ID, Token: o.Token, Via: "test"})
	if err != nil {
		return nil, err
	}
	w, err := t.Store(0, false)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		_, kerr := w.Keep()
		return nil, errors.Join(err, kerr)
	}
	return w.Publish("")
}

// write replaces the content of a file as a user.
func (l *librig) write(user, id string, data []byte) (*Published, error) {
	r, err := l.as(user, fileOp(id, "write"))
	if err != nil {
		return nil, err
	}
	return l.upload(r.(*TaskOpened), data)
}

// read is the newest content of a file as a user sees it.
func (l *librig) read(user, id string) ([]byte, error) {
	r, err := l.as(user, fileOp(id, "read"))
	if err != nil {
		return nil, err
	}
	o := r.(*TaskOpened)
	t, err := l.Engine.Task(TaskCall{ID: o.ID, Token: o.Token, Via: "test"})
	if err != nil {
		return nil, err
	}
	from, err := t.Read()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(from)
	if err == nil {
		err = from.Finish()
	}
	return data, errors.Join(err, from.Close())
}

func (l *librig) mustRead(user, id string) string {
	l.t.Helper()
	data, err := l.read(user, id)
	require.NoError(l.t, err)
	return string(data)
}

// refused asserts that a request is refused with a code.
func refused(t testing.TB, code acl.Code, _ any, err error) {
	t.Helper()
	assert.ErrorIs(t, err, code)
}

// stored are the contents on disk.
func (l *librig) stored() map[string]bool {
	l.t.Helper()
	out := make(map[string]bool)
	shelves, err := os.ReadDir(l.objects())
	require.NoError(l.t, err)
	for _, shelf := range shelves {
		if len(shelf.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(l.objects(), shelf.Name()))
		require.NoError(l.t, err)
		for _, f := range files {
			out[f.Name()] = true
		}
	}
	return out
}

// settled returns once nothing is left to sweep.
func (l *librig) settled() { l.settledOr(nil) }

// check holds the store against the journal after the engine has ended: every
// content that is named is there and what it should be, none is there that is
// not named, and nothing is staged without a task.
func (l *librig) check(s *State) {
	l.t.Helper()
	have := l.stored()
	for digest, size := range s.contents.known {
		if s.named(digest) == 0 {
			continue // about to be dropped when the engine ended
		}
		if sealed(s, digest) {
			continue // about to be stored
		}
		data, err := os.ReadFile(filepath.Join(l.objects(), digest[:2], digest))
		if assert.NoError(l.t, err, "a content that is named") {
			sum := sha256.Sum256(data)
			assert.Equal(l.t, digest, hex.EncodeToString(sum[:]))
			assert.Equal(l.t, size, int64(len(data)))
		}
		delete(have, digest)
	}
	for digest := range have {
		_, known := s.contents.known[digest]
		_, dropped := s.contents.dropped[digest]
		assert.True(l.t, known || dropped, "content %s has no name", digest)
	}
	staging, err := os.ReadDir(filepath.Join(l.objects(), ".waybill", rigStore, "staging"))
	require.NoError(l.t, err)
	live := make(map[string]bool)
	for _, u := range s.sessions.Uploads() {
		live[u.ID.String()] = u.Task != nil
	}
	for _, f := range staging {
		assert.True(l.t, live[f.Name()], "staged content %s has no task", f.Name())
	}
}

func sealed(s *State, digest string) bool {
	for _, u := range s.sessions.Uploads() {
		if u.Task != nil && u.Digest == digest {
			return true
		}
	}
	return false
}

// kinds returns the kinds of the records from seq on.
func (l *librig) kinds(from uint64) (out []string) {
	l.t.Helper()
	for _, line := range l.lines(from) {
		var e journal.Entry
		require.NoError(l.t, journal.ParseEntry([]byte(line), &e))
		out = append(out, e.Kind)
	}
	return out
}
