package daemon

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"

	"waybill/actions"
	"waybill/fsview/acl"
	"waybill/sessions"
)

// ftpDriver is the session as the library sees it.
type ftpDriver struct{ session *ftpSession }

// GetSettings implements ftpserver.MainDriver.
func (d *ftpDriver) GetSettings() (*ftpserver.Settings, error) { return d.session.settings(), nil }

// ClientConnected implements ftpserver.MainDriver: what it returns is the
// greeting.
func (d *ftpDriver) ClientConnected(ftpserver.ClientContext) (string, error) {
	return "waybill ready.", nil
}

// ClientDisconnected implements ftpserver.MainDriver.
func (d *ftpDriver) ClientDisconnected(ftpserver.ClientContext) { d.session.control.held.Done() }

// AuthUser implements ftpserver.MainDriver, for who has logged in already (see
// ftpSession.pass).
func (d *ftpDriver) AuthUser(ftpserver.ClientContext, string, string) (ftpserver.ClientDriver, error) {
	return &ftpRoot{afero.NewReadOnlyFs(afero.NewMemMapFs()), d.session}, nil
}

// PostAuthMessage implements ftpserver.MainDriverExtensionPostAuthMessage.
func (d *ftpDriver) PostAuthMessage(ftpserver.ClientContext, string, error) string {
	return "Login successful."
}

// QuitMessage implements ftpserver.MainDriverExtensionQuitMessage.
func (d *ftpDriver) QuitMessage() string { return "Goodbye." }

// GetTLSConfig implements ftpserver.MainDriver: it is not the library that
// encrypts.
func (d *ftpDriver) GetTLSConfig() (*tls.Config, error) {
	return nil, errors.New("encryption is not the library's")
}

// WrapPassiveListener implements ftpserver.MainDriverExtensionPassiveWrapper.
func (d *ftpDriver) WrapPassiveListener(l net.Listener) (net.Listener, error) {
	wrapped := &ftpListener{l, d.session}
	if err := d.session.await(wrapped); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return wrapped, nil
}

// ftpRoot is the directory a task is seen in: the root, with one file or none.
// Below is an empty file system that cannot be written to: nothing but
// transfers changes anything.
type ftpRoot struct {
	afero.Fs
	session *ftpSession
}

// Stat implements afero.Fs.
func (r *ftpRoot) Stat(name string) (os.FileInfo, error) {
	task := r.session.task
	if name == "/" {
		return ftpInfo{name: "/", dir: true}, nil
	}
	if name != "/"+task.FakeName() {
		return nil, replyNoFile
	}
	st, err := task.Status()
	if err != nil {
		return nil, ftpReplyOf(err)
	}
	if !showsFile(st) {
		return nil, replyNoFile
	}
	return ftpInfo{name: task.FakeName(), size: st.Size, at: st.Opened}, nil
}

// showsFile tells whether there is a file to be seen: of a write task only once
// bytes are stored, and as long as they are.
func showsFile(st actions.TaskStatus) bool {
	switch st.State {
	case sessions.Open, sessions.Sealed, sessions.Published:
		return !st.Write || st.Size > 0
	case sessions.Closed: // read to the end, and here may be who did
		return true
	}
	return false
}

// ReadDir implements ftpserver.ClientDriverExtensionFileList.
func (r *ftpRoot) ReadDir(string) ([]os.FileInfo, error) { // there is one directory
	info, err := r.Stat("/" + r.session.task.FakeName())
	if err == error(replyNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []os.FileInfo{info}, nil
}

// GetHandle implements ftpserver.ClientDriverExtentionFileTransfer.
func (r *ftpRoot) GetHandle(name string, flags int, offset int64) (ftpserver.FileTransfer, error) {
	s := r.session
	write := flags&os.O_WRONLY != 0
	switch ours := name == "/"+s.task.FakeName(); {
	case write != s.task.Writes():
		return nil, s.refuse(acl.CodeTaskDirection, replyDenied)
	case write && !ours:
		return nil, s.refuse(acl.CodeNotFound, &ftpReply{553, "File name not allowed."})
	case !ours:
		return nil, s.refuse(acl.CodeNotFound, replyNoFile)
	}
	if flags&os.O_APPEND != 0 {
		offset = actions.AtEnd
	} else if offset < 0 {
		return nil, s.refuse(acl.CodeTaskOffset, replyOffset)
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	var file ftpserver.FileTransfer
	var err error
	if write {
		file, err = s.upload(offset)
	} else {
		file, err = s.download(offset)
	}
	if err != nil {
		s.release()
		return nil, err
	}
	return file, nil
}

// ftpInfo is what listings and SIZE tell.
type ftpInfo struct {
	name string
	size int64
	at   time.Time
	dir  bool
}

// Name implements fs.FileInfo.
func (i ftpInfo) Name() string { return i.name }

// Size implements fs.FileInfo.
func (i ftpInfo) Size() int64 { return i.size }

// ModTime implements fs.FileInfo.
func (i ftpInfo) ModTime() time.Time { return i.at }

// IsDir implements fs.FileInfo.
func (i ftpInfo) IsDir() bool { return i.dir }

// Sys implements fs.FileInfo.
func (i ftpInfo) Sys() any { return nil }

// Mode implements fs.FileInfo.
func (i ftpInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
