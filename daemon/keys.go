package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

// The files of STATE that hold the key which signs checkpoints, and for a while
// after a rotation the one before it.
const (
	keyFile    = "log.key"
	oldKeyFile = "log.key.old"
	lockFile   = "lock"
)

// ErrRotating is returned by RotateKey while the key before signs still.
var ErrRotating = errors.New("a rotation is under way")

// originOf is what a journal is called on its checkpoints.
func originOf(storeID string) string { return "waybill/" + storeID }

// StoredKeys reads the keys in STATE, which a daemon may be using. There is no
// error if previous is not there: then it is nil.
func StoredKeys(state string) (current, previous *journal.SigningKey, err error) {
	if current, err = readKey(filepath.Join(state, keyFile)); err != nil {
		return nil, nil, err
	}
	previous, err = readKey(filepath.Join(state, oldKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return current, previous, err
}

// StoredVerifiers are the public halves of the keys in STATE: what the checkpoint
// there may be signed with.
func StoredVerifiers(state string) ([]journal.VerifierKey, error) {
	current, previous, err := StoredKeys(state)
	if err != nil {
		return nil, err
	}
	keys := []journal.VerifierKey{current.Verifier()}
	if previous != nil {
		keys = append(keys, previous.Verifier())
	}
	return keys, nil
}

func readKey(path string) (*journal.SigningKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	k, err := journal.ParseSigningKey(strings.TrimSpace(string(text))) // an editor may have added a line break
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, filepath.Base(path), err)
	}
	return k, nil
}

func writeKey(path string, k *journal.SigningKey) error {
	if err := fsview.WriteFile(path, []byte(k.Text()+"\n"), 0o600); err != nil {
		return fmt.Errorf("%w %s: %w", ErrCreate, filepath.Base(path), err)
	}
	return nil
}

// RotateKey replaces the key in the STATE of a daemon that is stopped, and
// gives the new one. The next start of the daemon records it; for its overlap
// both keys sign. A crash leaves the old key in place, or the new one beside the
// old. fsview.ErrLocked if the daemon runs, ErrRotating if the last rotation is
// not over.
func RotateKey(state string) (key journal.VerifierKey, err error) {
	if _, err := os.Stat(filepath.Join(state, keyFile)); err != nil {
		return key, fmt.Errorf("read %s: %w", keyFile, err) // before a lock file is made where no STATE is
	}
	lock, err := fsview.LockFile(filepath.Join(state, lockFile))
	if err != nil {
		return key, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	current, previous, err := StoredKeys(state)
	if err != nil {
		return key, err
	}
	// The same key twice is a rotation that a crash cut short.
	if previous != nil && !same(previous, current.Verifier().String()) {
		return key, fmt.Errorf("%w: the daemon removes %s when the key before no longer signs", ErrRotating, oldKeyFile)
	}
	next, err := journal.NewSigningKey(current.Verifier().Name())
	if err != nil {
		return key, err
	}
	if err := writeKey(filepath.Join(state, oldKeyFile), current); err != nil {
		return key, err
	}
	return next.Verifier(), writeKey(filepath.Join(state, keyFile), next)
}

// same tells whether key has this verifier key.
func same(key *journal.SigningKey, verifier string) bool {
	return key != nil && key.Verifier().String() == verifier
}

// signing are the keys that sign now.
type signing struct {
	state   *stateDir
	now     func() time.Time
	log     zerolog.Logger
	current *journal.SigningKey
	// old is what log.key.old held at the start, whether it signs or not; nil if
	// it was not there.
	old *journal.SigningKey
	// unrecorded is what the journal has to be told before anything is signed,
	// nil if it knows.
	unrecorded *actions.CheckpointKey

	mu sync.Mutex // guards what follows
	// previous signs beside current up to until; nil if it does not.
	previous *journal.SigningKey
	until    time.Time
	// settled: the checkpoint in STATE is signed with current. Before that
	// log.key.old may be what the next start needs to tell whether the journal is
	// still the one that was signed last. spent: it is to go then.
	settled, spent bool
}

// openKeys reads the keys of STATE, and makes one if there is none: a server
// must come up unattended, and auditors see the change in the journal. recorded
// is what the journal says of the keys, nil if it says nothing.
func (d *daemon) openKeys(recorded *actions.CheckpointKey) (k *signing, err error) {
	k = &signing{state: d.state, now: d.cfg.now, log: d.cfg.Logger}
	if k.current, k.old, err = StoredKeys(d.state.dir); errors.Is(err, fs.ErrNotExist) {
		err = k.makeKey(recorded != nil)
	}
	if err != nil {
		return nil, err
	}
	origin := originOf(d.state.storeID)
	for _, key := range []*journal.SigningKey{k.current, k.old} {
		if key != nil && key.Verifier().Name() != origin {
			return nil, fmt.Errorf("%w: a key of it is that of %s, its own name is %s", ErrState, key.Verifier().Name(), origin)
		}
	}
	current := k.current.Verifier().String()
	var known actions.CheckpointKey
	if recorded != nil {
		known = *recorded
	}
	switch {
	case known.Key != current:
		k.unrecorded = &actions.CheckpointKey{Key: current}
		if same(k.old, known.Key) {
			// Also if it signs no more: a crash may leave log.key.old after this is on
			// record, and then the next start knows what it is.
			until := k.now().Add(max(0, d.cfg.KeyOverlap)).UTC().Truncate(time.Second)
			k.unrecorded.Previous, k.unrecorded.Until = known.Key, &until
			if k.now().Before(until) {
				k.previous, k.until = k.old, until
			}
		}
	case known.Until != nil && k.now().Before(*known.Until) && same(k.old, known.Previous):
		k.previous, k.until = k.old, *known.Until
	}
	switch {
	case k.previous != nil || k.old == nil:
	case same(k.old, current) || same(k.old, known.Key) || same(k.old, known.Previous):
		k.spent = true
	default:
		k.log.Warn().Str("file", oldKeyFile).Msg("not the checkpoint key that the journal names as the one before; it is left alone and not used")
	}
	return k, nil
}

// makeKey makes the key that is missing; replaced says that there was one.
func (k *signing) makeKey(replaced bool) (err error) {
	if k.old, err = readKey(k.state.path(oldKeyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if k.current, err = journal.NewSigningKey(originOf(k.state.storeID)); err != nil {
		return err
	}
	if replaced {
		k.log.Warn().Str("file", keyFile).Str("key", k.current.Verifier().String()).
			Msg("the checkpoint key is missing; a new one was made, which auditors need from now on")
	}
	return writeKey(k.state.path(keyFile), k.current)
}

// sign gives the signed checkpoint of a head of the journal. It may be called
// from any goroutine.
func (k *signing) sign(h journal.Head) ([]byte, error) {
	k.mu.Lock()
	if k.previous != nil && !k.now().Before(k.until) {
		k.previous, k.spent = nil, true
		k.retire()
	}
	keys := []*journal.SigningKey{k.current}
	if k.previous != nil {
		keys = append(keys, k.previous)
	}
	k.mu.Unlock()
	return journal.SignCheckpoint(journal.Checkpoint{Origin: k.current.Verifier().Name(), Head: h}, keys...)
}

// settle says that the checkpoint in STATE is signed with the current key.
func (k *signing) settle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settled = true
	k.retire()
}

// retire removes the key that signs no more, when nothing needs it. If it
// cannot, the next start will. The caller holds mu.
func (k *signing) retire() {
	if !k.settled || !k.spent {
		return
	}
	k.spent = false
	if err := os.Remove(k.state.path(oldKeyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Error().Err(err).Str("file", oldKeyFile).Msg("the checkpoint key before signs no more, but cannot be removed")
	}
}
