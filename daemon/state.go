package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"waybill/fsview"
	"waybill/journal"
)

const (
	mainTokenLen = 32
	jwtKeyLen    = 32
	alphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// stateDir is STATE, locked for the daemon's life: the journal, the secrets
// and the store's id.
type stateDir struct {
	dir       string
	lock      *fsview.Lock
	storeID   string // "" until initialised
	mainToken string
	jwtKey    []byte
}

// openState locks STATE, making it if need be, and reads what is there. What
// is missing is made by initialise, once the journal is open.
func openState(dir string, minFree int64) (_ *stateDir, err error) {
	if err := fsview.MakeDir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w the state directory: %w", ErrCreate, err)
	}
	if err := protect(dir); err != nil {
		return nil, err
	}
	s := &stateDir{dir: dir}
	if s.lock, err = fsview.LockFile(s.path("lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	if err := checkFree(dir, minFree); err != nil {
		return nil, err
	}
	if s.storeID, err = s.readText("id", func(id string) bool { return uuid.Validate(id) == nil }); err != nil {
		return nil, err
	}
	if s.storeID == "" {
		return s, nil
	}
	// The id is written last of all: it says that there was a journal.
	if err := journal.Expect(s.journalDir()); err != nil {
		return nil, err
	}
	return s, nil
}

// apart refuses a STATE that lies in ROOT: clients could fetch the main token.
func apart(state, root string) error {
	inside, err := fsview.Within(state, root)
	if err == nil && inside {
		err = fmt.Errorf("%w: %s lies in the served tree %s, where clients could read its secrets", ErrState, state, root)
	}
	return err
}

// protect closes STATE to other users, since it may have been made by hand. A
// directory with contents that are not the daemon's is left as it is: the flag
// may name /tmp.
func protect(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("protect the state directory: %w", err)
	}
	if fi.Mode().Perm() == 0o700 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("protect the state directory: %w", err)
	}
	ours, others := false, false
	for _, e := range entries {
		switch e.Name() {
		case "id", "lock":
			ours = ours || e.Type().IsRegular()
		case "lost+found": // of a file system made for it
		default:
			others = true
		}
	}
	if others && !ours {
		return fmt.Errorf("%w: %s is open to other users and holds files of others; give the state a directory of its own", ErrState, dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("protect the state directory: %w", err)
	}
	return nil
}

// initialise makes whatever STATE lacks, the id last: a crash anywhere before
// leaves a state that starts as if for the first time. records is the size of
// the journal.
func (s *stateDir) initialise(records uint64) (err error) {
	if s.mainToken, err = s.readText("main-token", validMainToken); err != nil {
		return err
	}
	if s.mainToken == "" {
		s.mainToken = randomText(mainTokenLen)
		if err := s.write("main-token", []byte(s.mainToken)); err != nil {
			return err
		}
	}
	if s.jwtKey, err = s.read("jwt.key"); err != nil {
		return err
	}
	if s.jwtKey == nil {
		s.jwtKey = make([]byte, jwtKeyLen)
		_, _ = rand.Read(s.jwtKey) // never fails, says crypto/rand
		if err := s.write("jwt.key", s.jwtKey); err != nil {
			return err
		}
	}
	if len(s.jwtKey) != jwtKeyLen {
		return fmt.Errorf("%w: jwt.key is not %d bytes long", ErrState, jwtKeyLen)
	}
	if s.storeID != "" {
		return nil
	}
	if records > 0 {
		return fmt.Errorf("%w: id is missing, but the journal has %d records", ErrState, records)
	}
	s.storeID = uuid.NewString()
	return s.write("id", []byte(s.storeID))
}

func (s *stateDir) path(name string) string { return filepath.Join(s.dir, name) }
func (s *stateDir) journalDir() string      { return s.path("journal") }
func (s *stateDir) close() error            { return s.lock.Close() }

// read returns a file's contents, nil if there is none. One that cannot be
// read is an error: to make another would lock everybody out.
func (s *stateDir) read(name string) ([]byte, error) {
	b, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// readText reads a file that holds one word, "" if there is none.
func (s *stateDir) readText(name string, valid func(string) bool) (string, error) {
	b, err := s.read(name)
	if b == nil || err != nil {
		return "", err
	}
	word := strings.TrimSpace(string(b)) // an editor may have added a line break
	if !valid(word) {
		return "", fmt.Errorf("%w: %s is not what it should be", ErrState, name)
	}
	return word, nil
}

func (s *stateDir) write(name string, b []byte) error {
	if err := fsview.WriteFile(s.path(name), b, 0o600); err != nil {
		return fmt.Errorf("%w %s: %w", ErrCreate, name, err)
	}
	return nil
}

func validMainToken(t string) bool {
	for i := range len(t) {
		if !isAlnum(t[i]) {
			return false
		}
	}
	return len(t) == mainTokenLen
}

// randomText draws n letters and digits evenly: bytes beyond the largest
// multiple are thrown away.
func randomText(n int) string {
	const fair = 256 / len(alphabet) * len(alphabet)
	text := make([]byte, 0, n)
	for len(text) < n {
		var b [2 * mainTokenLen]byte
		_, _ = rand.Read(b[:]) // never fails, says crypto/rand
		for _, x := range b {
			if int(x) < fair && len(text) < n {
				text = append(text, alphabet[int(x)%len(alphabet)])
			}
		}
	}
	return string(text)
}

// checkFree refuses to start on a disk that is about to be full.
func checkFree(dir string, least int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < least {
		return fmt.Errorf("%w: %d bytes in %s, %d are needed", ErrLowSpace, free, dir, least)
	}
	return nil
}
