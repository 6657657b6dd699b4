package daemon

import (
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
)

// Config is what a daemon is run with. Its zero value serves with the
// defaults of DESIGN.md.
type Config struct {
	// Root is the served tree, default ./waybill-data/files; State is where
	// the journal and the secrets are, default ./waybill-data/state.
	Root, State string
	// Listen is the address of the HTTP listener, default 127.0.0.1:11451.
	Listen string
	// Version is what /info and the journal say.
	Version string
	// Limits are those of the core.
	Limits actions.Limits
	// Reserve is how many bytes stay free on the file systems of Root and
	// State: 0 means the larger of 512 MiB and 1 %, negative none.
	Reserve int64
	// MaxMessage is the longest WebSocket message in bytes, default 16 MiB.
	MaxMessage int64
	// MaxPending is how many requests of one connection may wait for their
	// answer, default 256; further ones are refused.
	MaxPending int
	// SplitListing puts directories into a list of their own in the answer of
	// get_directory_info.
	SplitListing bool
	// Logger gets the daemon's log; the zero value writes nothing.
	Logger zerolog.Logger
	// Ready, if not nil, is called once when the daemon serves, with the
	// address it listens on.
	Ready func(addr string)

	// MinFree is how many bytes must be free at start, default 64 MiB.
	MinFree int64
	// PingEvery is the period of pings on each connection, default 20 s.
	PingEvery time.Duration
	// SilentAfter drops a peer that sent nothing for so long, default 45 s.
	SilentAfter time.Duration
	// StallAfter closes a peer that took not one byte of what is queued for
	// it for so long, default 30 s.
	StallAfter time.Duration
	// HolderStall closes a peer that makes no progress for so long while it
	// holds room others wait for, default 10 s.
	HolderStall time.Duration
	// LoginWithin closes a connection that has not logged in, default 30 s.
	LoginWithin time.Duration
	// CloseWithin is how long a peer may take to answer a close, default 2 s.
	CloseWithin time.Duration
	// StopWithin bounds a clean stop, default 10 s.
	StopWithin time.Duration

	// JournalFault and FileFault wrap the durable steps of journal and
	// fsview, for tests; nil in production.
	JournalFault func(op string, do func() error) error
	FileFault    func(op, name string, do func() error) error
}

func (c Config) withDefaults() Config {
	set(&c.Root, "waybill-data/files")
	set(&c.State, "waybill-data/state")
	set(&c.Listen, "127.0.0.1:11451")
	set(&c.Version, "dev")
	set(&c.MaxMessage, 16<<20)
	set(&c.MaxPending, 256)
	set(&c.MinFree, 64<<20)
	set(&c.PingEvery, 20*time.Second)
	set(&c.SilentAfter, 45*time.Second)
	set(&c.StallAfter, 30*time.Second)
	set(&c.HolderStall, 10*time.Second)
	set(&c.LoginWithin, 30*time.Second)
	set(&c.CloseWithin, 2*time.Second)
	set(&c.StopWithin, 10*time.Second)
	switch {
	case c.Reserve == 0:
		c.Reserve = -1 // fsview's word for its default
	case c.Reserve < 0:
		c.Reserve = 0
	}
	return c
}

func set[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}
