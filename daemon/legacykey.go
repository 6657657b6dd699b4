package daemon

import (
	"fmt"

	"waybill/daemon/docwire"
)

// Files in STATE of the keys that clients of the legacy listener know it by.
const (
	fileLegacyRSA    = "cfms-rsa.pem"
	fileLegacyX25519 = "cfms-x25519"
)

// legacyKey reads the key of a method, or makes it when it is first needed.
// Clients store the public part and warn when it changes.
func (s *stateDir) legacyKey(m docwire.Method) (*docwire.ServerKey, error) {
	name := fileLegacyRSA
	if m == docwire.MethodX25519 {
		name = fileLegacyX25519
	}
	file, err := s.read(name)
	if err != nil {
		return nil, err
	}
	if file != nil {
		key, err := docwire.ParseServerKey(m, file)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrState, name, err)
		}
		return key, nil
	}
	key, err := docwire.GenerateServerKey(m)
	if err != nil {
		return nil, err
	}
	if file, err = key.Marshal(); err != nil {
		return nil, err
	}
	return key, s.write(name, file)
}
