package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"waybill/actions"
	"waybill/fsview"
	"waybill/fsview/acl"
)

// Files of the document library in STATE.
const (
	fileTokenSecret   = "token-secret"
	filePepper        = "password-pepper"
	fileAdminPassword = "admin-password"
	dirObjects        = "objects"
	dirTLS            = "tls"

	tokenSecretLen   = 256 // hex characters
	pepperLen        = 32
	adminPasswordLen = 24
)

// openLibrary opens the content store and the secrets of the document library,
// and makes what is missing of them.
func (d *daemon) openLibrary() (*actions.Library, error) {
	st, cfg := d.state, d.cfg
	secret, err := st.tokenSecret(cfg.RotateTokenSecret)
	if err != nil {
		return nil, err
	}
	pepper, err := st.pepper()
	if err != nil {
		return nil, err
	}
	store, err := fsview.OpenContents(st.path(dirObjects), fsview.Options{
		StoreID: st.storeID, Reserve: cfg.Reserve, Fault: cfg.FileFault,
	})
	if err != nil {
		return nil, fmt.Errorf("open the content store: %w", err)
	}
	return &actions.Library{
		Contents: store, TokenSecret: secret, Passwords: acl.Passwords{Pepper: pepper, KiB: cfg.passwordKiB},
		IsMain:               newAuthority(st.mainToken, st.jwtKey, nil).isMain,
		NewAdminPassword:     st.newAdminPassword,
		AdminPasswordChanged: st.adminPasswordChanged,
		AdminPassword:        cfg.AdminPassword,
		SampleData:           cfg.SampleData,
		HideNoAccess:         !cfg.ShowNoAccess,
		PurgeEvery:           max(cfg.PurgeEvery, 0),
	}, nil
}

// tokenSecret reads what tokens of the library are signed with, or makes it.
func (s *stateDir) tokenSecret(rotate bool) ([]byte, error) {
	text := ""
	if !rotate {
		var err error
		if text, err = s.readText(fileTokenSecret, validTokenSecret); err != nil {
			return nil, err
		}
	}
	if text == "" {
		var b [tokenSecretLen / 2]byte
		_, _ = rand.Read(b[:]) // never fails, says crypto/rand
		text = hex.EncodeToString(b[:])
		if err := s.write(fileTokenSecret, []byte(text)); err != nil {
			return nil, err
		}
	}
	return []byte(text), nil
}

func validTokenSecret(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == tokenSecretLen
}

// pepper reads what goes into every password verifier, or makes it. Another one
// would lock everybody out.
func (s *stateDir) pepper() ([]byte, error) {
	b, err := s.read(filePepper)
	if err != nil {
		return nil, err
	}
	if b == nil {
		b = make([]byte, pepperLen)
		_, _ = rand.Read(b) // never fails, says crypto/rand
		if err := s.write(filePepper, b); err != nil {
			return nil, err
		}
	}
	if len(b) != pepperLen {
		return nil, fmt.Errorf("%w: %s is not %d bytes long", ErrState, filePepper, pepperLen)
	}
	return b, nil
}

// newAdminPassword is the first password of admin: the one in its file, which a
// start that was cut short may have left, or a new one.
func (s *stateDir) newAdminPassword() (string, error) {
	typed, err := s.readText(fileAdminPassword, func(t string) bool { return t != "" })
	if typed != "" || err != nil {
		return typed, err
	}
	typed = randomText(adminPasswordLen)
	return typed, s.write(fileAdminPassword, []byte(typed))
}

// adminPasswordChanged removes the file with the first password of admin once
// that is no longer good.
func (s *stateDir) adminPasswordChanged(stillGood func(typed string) bool) error {
	b, err := s.read(fileAdminPassword)
	if b == nil || err != nil || stillGood(strings.TrimSpace(string(b))) {
		return err
	}
	if err := os.Remove(s.path(fileAdminPassword)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", filepath.Base(fileAdminPassword), err)
	}
	return nil
}
