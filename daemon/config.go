package daemon

import (
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/daemon/docwire"
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
	// Load are the limits on what all callers, and each, may have at one time.
	Load Load
	// SplitListing puts directories into a list of their own in the answer of
	// get_directory_info.
	SplitListing bool
	// CFMSListen is the address of the legacy encrypted listener of the document
	// library, FTPListen that of its FTPS; "" for none (CFMS.md §1).
	CFMSListen, FTPListen string
	// CFMSKeyExchange is how clients of the legacy listener get their session
	// key: "rsa" (default) or "x25519".
	CFMSKeyExchange string
	// CFMSMaxConns is how many connections of the legacy listener there may be,
	// default 256.
	CFMSMaxConns int
	// CFMSTimes are how long its clients may take.
	CFMSTimes LegacyTimes
	// TimestampWindow is by how much X-Ca-Timestamp may be off, default 300 s;
	// negative: it is not looked at.
	TimestampWindow time.Duration
	// ShowNoAccess lists what the asker may not read.
	ShowNoAccess bool
	// AdminPassword, if not "", is set for the library's admin at start.
	AdminPassword string
	// SampleData puts something to look at into an empty library.
	SampleData bool
	// RotateTokenSecret makes a new secret for the library's tokens: none that
	// was issued before is good any more.
	RotateTokenSecret bool
	// PurgeEvery is the period of the recycle bin's purge, default 10 min;
	// negative: never.
	PurgeEvery time.Duration
	// ShutdownGrace is how long transfers of tasks may go on after a request to
	// stop, default 3 s.
	ShutdownGrace time.Duration
	// FTPCert and FTPKey are PEM files; "" for a certificate made at first start.
	FTPCert, FTPKey string
	// FTPPassiveHost is the IPv4 address told to clients for data connections, ""
	// for the one they came to; FTPPassivePorts is the range of ports, zeros for
	// any.
	FTPPassiveHost  string
	FTPPassivePorts [2]int
	// FTPTimes are how long clients of FTPS may take.
	FTPTimes FTPTimes
	// TaskStall ends a transfer of a task on which not one byte moved for so long,
	// default 60 s.
	TaskStall time.Duration
	// CheckpointTo is a directory that gets a copy of every checkpoint, "" for
	// none: a mounted or synced one elsewhere, out of reach of whoever could
	// rewrite the journal.
	CheckpointTo string
	// KeyOverlap is how long, after a rotation of the key that signs checkpoints,
	// the one before signs too, default 7 days; negative: not at all.
	KeyOverlap time.Duration
	// Archive is the directory that old records go to when the journal is pruned,
	// which must exist; "" for none, then it cannot be. Retain is how old records
	// become before that happens by itself; 0: it does not.
	Archive string
	Retain  time.Duration
	// TransferStall ends a transfer over /upload, /download and /tus on which not
	// one byte moved for so long, default 2 min.
	TransferStall time.Duration
	// TusTimeout is the longest pause between two requests of a tus upload, default
	// and most 24 h.
	TusTimeout time.Duration
	// Logger gets the daemon's log; the zero value writes nothing.
	Logger zerolog.Logger
	// Ready, if not nil, is called once when the daemon serves, with the
	// address it listens on.
	Ready func(addr string)

	// Listening, if not nil, is called before Ready for each further listener,
	// "cfms" or "ftp", with its address.
	Listening func(what, addr string)

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
	// LockWithin is how long a start waits for another daemon to leave STATE and
	// ROOT, default 5 s: one that was killed has them until the system has done
	// what it was doing for it.
	LockWithin time.Duration

	// JournalFault and FileFault wrap the durable steps of journal and
	// fsview, for tests; nil in production. To those of the journal belong the
	// other ones of a cut: "base.write", "base.remove".
	JournalFault func(op string, do func() error) error
	FileFault    func(op, name string, do func() error) error

	// Running, if not nil, is called before Ready with what carries out the
	// requests; for tests.
	Running func(*actions.Engine)

	// serving, if not nil, is called before Ready with what serves, now stands in
	// for time.Now in the engine and for keys, pushing wraps what is written to
	// CheckpointTo; all for tests.
	serving func(*server)
	now     func() time.Time
	pushing func(do func() error) error
	// looking wraps what a start does to see whether a directory elsewhere is
	// there, for tests.
	looking func(dir string, do func() error) error
	// passwordKiB is the memory that hashing a password takes; 0 is 19 MiB, less is
	// for tests.
	passwordKiB uint32
	// retainTick is how often the journal is looked at for Retain, for tests.
	retainTick time.Duration
}

// LegacyTimes are how long clients of the legacy listener may take (CFMS.md
// §1.2). The zero value is what stands there.
type LegacyTimes struct {
	// Greeting is for each of the steps in clear, Key for the key exchange: a
	// client may be asking its user. Login is for a first request whose token is
	// good.
	Greeting, Key, Login time.Duration
	// LongSilence ends a message of which something is sure to be missing,
	// ShortSilence any other. After the latter a bad message is answered.
	LongSilence, ShortSilence time.Duration
}

// FTPTimes are how long clients of FTPS may take (CFMS.md §1.4). The zero value
// is what stands there.
type FTPTimes struct {
	// Refuse is how long a refused login takes. Idle is how long there may be no
	// command, Connect how long a data connection is waited for.
	Refuse, Idle, Connect time.Duration
}

func (c Config) withDefaults() Config {
	set(&c.Root, "waybill-data/files")
	set(&c.State, "waybill-data/state")
	set(&c.Listen, "127.0.0.1:11451")
	set(&c.Version, "dev")
	set(&c.MaxMessage, 16<<20)
	set(&c.MaxPending, 256)
	c.Load = c.Load.withDefaults()
	set(&c.MinFree, 64<<20)
	set(&c.PingEvery, 20*time.Second)
	set(&c.SilentAfter, 45*time.Second)
	set(&c.StallAfter, 30*time.Second)
	set(&c.HolderStall, 10*time.Second)
	set(&c.LoginWithin, 30*time.Second)
	set(&c.CloseWithin, 2*time.Second)
	set(&c.StopWithin, 10*time.Second)
	set(&c.LockWithin, 5*time.Second)
	set(&c.CFMSKeyExchange, "rsa")
	set(&c.CFMSMaxConns, 256)
	set(&c.CFMSTimes.Greeting, docwire.GreetingWithin)
	set(&c.CFMSTimes.Key, docwire.KeyWithin)
	set(&c.CFMSTimes.Login, 10*time.Minute)
	set(&c.CFMSTimes.LongSilence, docwire.LongSilence)
	set(&c.CFMSTimes.ShortSilence, docwire.ShortSilence)
	set(&c.FTPTimes.Refuse, 3*time.Second)
	set(&c.FTPTimes.Idle, 120*time.Second)
	set(&c.FTPTimes.Connect, 30*time.Second)
	set(&c.TaskStall, 60*time.Second)
	set(&c.TransferStall, 2*time.Minute)
	set(&c.TusTimeout, 24*time.Hour)
	set(&c.TimestampWindow, 300*time.Second)
	set(&c.PurgeEvery, 10*time.Minute)
	set(&c.ShutdownGrace, 3*time.Second)
	set(&c.retainTick, retainTick)
	set(&c.KeyOverlap, 7*24*time.Hour)
	if c.now == nil {
		c.now = time.Now
	}
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
