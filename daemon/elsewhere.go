package daemon

import (
	"errors"
	"fmt"
	"os"
	"time"

	"waybill/fsview"
)

// elsewhere is a directory that the configuration names and that may lie on
// another machine.
type elsewhere struct {
	what, dir string
	// not are directories that it may not lie in, and what would come of it.
	not []forbidden
}

type forbidden struct{ dir, why string }

// look says ErrConfig of a directory that is not there, or where it would do
// harm. It may hang for as long as the file system does.
func (e elsewhere) look() error {
	fi, err := os.Stat(e.dir)
	if err == nil && !fi.IsDir() {
		err = errors.New("it is not a directory")
	}
	for _, f := range e.not {
		if err != nil {
			break
		}
		var inside bool
		if inside, err = fsview.Within(e.dir, f.dir); err == nil && inside {
			err = errors.New("it lies in " + f.why)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s %s: %w", ErrConfig, e.what, e.dir, err)
	}
	return nil
}

// lookAt is look for a start: a directory that does not answer may come back, and
// does not keep the daemon from serving.
func (d *daemon) lookAt(e elsewhere) error {
	look := e.look
	if d.cfg.looking != nil {
		look = func() error { return d.cfg.looking(e.dir, e.look) }
	}
	looked := make(chan error, 1)
	go func() { looked <- look() }()
	select {
	case err := <-looked:
		return err
	case <-time.After(lookWithin):
		d.cfg.Logger.Warn().Str("dir", e.dir).Msg("the directory for " + e.what + " does not answer")
		return nil
	}
}
