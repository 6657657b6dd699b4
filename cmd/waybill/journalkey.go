package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"waybill/daemon"
	"waybill/fsview"
	"waybill/journal"
)

// verifierKeys are the keys that an auditor trusts.
type verifierKeys struct {
	Key []string `sep:"none" placeholder:"KEY" help:"The journal's verifier key, as journal key prints it, or a file with it; may be repeated."`

	// known are those that were read already: standard input can be read once.
	known []journal.VerifierKey
}

// read gives the keys. A file may hold several, one on each line.
func (k *verifierKeys) read(a *app) (keys []journal.VerifierKey, err error) {
	if k.known != nil {
		return k.known, nil
	}
	for _, word := range k.Key {
		if key, err := journal.ParseVerifierKey(word); err == nil {
			keys = append(keys, key)
			continue
		}
		text, err := a.readInput(word)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			key, err := journal.ParseVerifierKey(line)
			if err != nil {
				return nil, fail(exitUsage, "--key: %s: %w", word, err)
			}
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fail(exitUsage, "--key is missing: without a key that you trust, nothing is proved")
	}
	k.known = keys
	return keys, nil
}

type journalKeyCmd struct {
	State  string `default:"waybill-data/state" placeholder:"DIR" help:"STATE of the daemon (${default})."`
	Rotate bool   `help:"Make a new key; the daemon must be stopped. For a while after its next start both sign."`
	JSON   bool   `help:"Result as one JSON object."`
}

// Run prints the verifier key, which auditors keep where the owner of the
// journal cannot change it.
func (c *journalKeyCmd) Run(a *app) error {
	var key journal.VerifierKey
	var err error
	if c.Rotate {
		key, err = daemon.RotateKey(c.State)
	} else {
		var current *journal.SigningKey
		if current, _, err = daemon.StoredKeys(c.State); err == nil {
			key = current.Verifier()
		}
	}
	if err != nil {
		return keyError(err)
	}
	if c.JSON {
		return a.printJSON(struct {
			Key string `json:"key"`
		}{key.String()})
	}
	return writeLine(a.stdout, []byte(key.String()))
}

// keyError gives an error of the keys in STATE its exit code.
func keyError(err error) error {
	switch {
	case errors.Is(err, fsview.ErrLocked):
		return fail(exitTemp, "the daemon must be stopped: %w", err)
	case errors.Is(err, daemon.ErrRotating):
		return fail(exitTemp, "%w", err)
	case errors.Is(err, daemon.ErrState):
		return fail(exitConfig, "%w", err)
	case errors.Is(err, daemon.ErrCreate):
		return fail(exitCantCreate, "%w", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return localError("key", err)
	}
	return err
}
