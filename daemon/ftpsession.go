package daemon

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"

	"waybill/actions"
	"waybill/fsview/acl"
)

// ftpSession is one control connection with its data connections. The library
// reads commands from it and answers them, as if both channels were in clear:
// encryption, login and every bound on time are here, on this side of it. Each
// session has a library server of its own, because a passive listener does not
// tell whose it is.
type ftpSession struct {
	f       *ftpService
	control *ftpControl
	// ip is the peer's address, via that with its port and the transport, as it
	// stands in the journal.
	ip, via string
	// task is set by the library's reader at the login, before there is any
	// transfer, and constant from then on.
	task *actions.Task

	// mu guards what follows; cond is broadcast whenever busy, handles or closed
	// change.
	mu   sync.Mutex
	cond sync.Cond
	// busy: a command that opens a data connection has no final answer yet.
	// handles counts the files that are open.
	busy    bool
	handles int
	// declared is the final length that ALLO has announced, -1 for none.
	declared int64
	// listener and data are what the library was given last. accepting: it waits
	// for data. aborted: the client does no longer want the transfer. sealed: it is
	// too late for that.
	listener                   *ftpListener
	data                       *ftpData
	accepting, aborted, sealed bool
	// why is what a transfer that was cut is answered with, nil if it was not.
	why *ftpReply
	// paced is closed, and nil, once the transfer must not wait for bandwidth.
	paced chan struct{}
	// stopping: no further command. closed: nothing works any more.
	stopping, closed bool
}

func newFTPSession(f *ftpService, c net.Conn) *ftpSession {
	addr := c.RemoteAddr().String()
	s := &ftpSession{f: f, ip: hostOf(addr), via: "ftps " + addr, declared: -1}
	s.cond.L = &s.mu
	s.control = newFTPControl(s, c)
	return s
}

// run serves the session, and returns when all that it has begun is over.
func (s *ftpSession) run() {
	lib := ftpserver.NewFtpServer(&ftpDriver{s})
	lib.Logger = slog.New(s.f.log)
	err := lib.Listen()
	if err == nil {
		err = lib.Serve() // returns when the library has left the connection
	}
	if err != nil {
		s.f.s.log.Error().Err(err).Str("via", s.via).Msg("the FTP library does not serve")
	}
	s.kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.handles > 0 || s.busy {
		s.cond.Wait()
	}
}

// settings are those of the library. What it would do beyond them is not let
// through to it, see ftpSession.command.
func (s *ftpSession) settings() *ftpserver.Settings {
	return &ftpserver.Settings{
		Listener:                 &ftpOnce{control: s.control},
		PublicHost:               s.f.host,
		PassiveTransferPortRange: s.f.ports,
		IdleTimeout:              -1, // ftpControl minds the time
		ConnectionTimeout:        1,  // ftpListener sets the right one
		DisableMFMT:              true,
		DisableSite:              true,
		DisableSTAT:              true,
		DisableActiveMode:        true,
		DefaultTransferType:      ftpserver.TransferTypeBinary,
		DisableASCIIConversion:   true,
		TLSRequired:              ftpserver.ClearOrEncrypted,
		PasvConnectionsCheck:     ftpserver.IPMatchRequired,
	}
}

// begins notes that a command that opens a data connection goes to the library.
// It returns false if there is nowhere for one to come to.
func (s *ftpSession) begins() bool {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return false
	}
	s.busy, s.aborted, s.sealed, s.why = true, false, false, nil
	return true
}

// answered notes that such a command has its final answer.
func (s *ftpSession) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	s.cond.Broadcast()
	if s.stopping {
		s.control.clock.cutNow()
	}
}

// settle returns once no such command is under way, nor anything left of one
// that was aborted.
func (s *ftpSession) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (s.busy || s.handles > 0) && !s.closed {
		s.cond.Wait()
	}
}

// inTransfer tells whether one is under way.
func (s *ftpSession) inTransfer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}

// open admits one more open file, unless the session is over, or there are as many
// transfers as there may be.
func (s *ftpSession) open() error {
	if s.f.s.transfers.take(s.subject()) != nil {
		return s.refuse(acl.CodeBusy, ftpReplyOf(acl.CodeBusy))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.f.s.transfers.give(s.subject())
		return replyStopping
	}
	s.handles++
	s.paced = make(chan struct{})
	return nil
}

func (s *ftpSession) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.f.s.transfers.give(s.subject())
	s.handles--
	s.hurryLocked()
	s.cond.Broadcast()
}

// subject is whose task the session is for.
func (s *ftpSession) subject() subject { return subject{s.task.Owner(), true} }

// pace waits for the bandwidth of n bytes of the running transfer, until that is
// cut.
func (s *ftpSession) pace(way direction, n int) error {
	if s.f.s.pace == nil {
		return nil
	}
	s.mu.Lock()
	quit := s.paced
	s.mu.Unlock()
	if quit == nil || s.f.s.pace.wait(context.Background(), quit, s.subject(), way, int64(n)) != nil {
		return s.broken(replyCut)
	}
	return nil
}

// hurryLocked ends that wait, for good.
func (s *ftpSession) hurryLocked() {
	if s.paced != nil {
		close(s.paced)
		s.paced = nil
	}
}

// declare notes the final length of the next upload.
func (s *ftpSession) declare(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.declared = size
}

// takeDeclared is what was declared, which counts once.
func (s *ftpSession) takeDeclared() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.declared
	s.declared = -1
	return size
}

// abort makes the library stop waiting for a data connection: while it does, it
// would not see that the client has changed its mind. A transfer that is past
// its data ends first.
func (s *ftpSession) abort() {
	s.mu.Lock()
	sealed := s.sealed
	if !sealed {
		s.aborted = s.busy
		s.hurryLocked()
	}
	if s.accepting && s.listener != nil {
		_ = s.listener.Listener.Close() // a listener: nothing is lost
	}
	s.mu.Unlock()
	if sealed {
		s.settle()
	}
}

// seal notes that the data are over: the transfer can no longer be aborted. It
// returns false if it was.
func (s *ftpSession) seal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = !s.aborted
	return s.sealed
}

// cut ends the running transfer, which is answered with why.
func (s *ftpSession) cut(why *ftpReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why
	s.cutLocked()
}

func (s *ftpSession) cutLocked() {
	if s.listener != nil {
		_ = s.listener.Listener.Close() // a listener: nothing is lost
	}
	if s.data != nil {
		_ = s.data.Conn.Close() // that fails the transfer
	}
	s.hurryLocked()
}

// broken is the answer to a transfer whose data connection failed.
func (s *ftpSession) broken(otherwise *ftpReply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return s.why
	}
	return otherwise
}

// stop ends the session once the running transfer is over, at once if there is
// none.
func (s *ftpSession) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	if !s.busy {
		s.control.clock.cutNow()
	}
}

// isStopping tells whether stop was called.
func (s *ftpSession) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// kill ends everything at once. What a running upload has brought is kept.
func (s *ftpSession) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping, s.closed = true, true
	s.cutLocked()
	_ = s.control.raw.Close() // nothing more is said on it
	s.cond.Broadcast()
}

// ftpOnce is the listener of a library server that serves one connection.
type ftpOnce struct {
	control *ftpControl
	given   bool
}

// Accept hands out the connection, and fails as a closed listener does once the
// library has left it.
func (o *ftpOnce) Accept() (net.Conn, error) {
	if !o.given {
		o.given = true
		return o.control, nil
	}
	o.control.held.Wait()
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: o.Addr(), Err: net.ErrClosed}
}

// Close implements net.Listener.
func (o *ftpOnce) Close() error { return nil }

// Addr implements net.Listener.
func (o *ftpOnce) Addr() net.Addr { return o.control.LocalAddr() }

// refuseLate waits until a refused login may be told: so long after it was
// tried, whatever is wrong with it.
func (s *ftpSession) refuseLate(tried time.Time) {
	s.f.pause(s.f.s.cfg.FTPTimes.Refuse - time.Since(tried))
}
