// Package actions is the typed core of the daemon: the actions that can be
// asked for, who may ask, the state they change and the journal they are
// recorded in. Sockets, HTTP and the command line all end here.
//
// It knows no wire format (daemon/panelwire does) and touches no file itself
// (fsview does).
package actions

import (
	"time"

	"waybill/fsview"
	"waybill/sessions"
)

// Action is a request that has been parsed into its type. The set is closed:
// the types of this file.
type Action interface {
	// Name is the canonical name, as in PROTOCOL.md §5 and in the journal.
	Name() string
	// Key is what requests of one connection, and queued jobs, are ordered
	// by: "id:" and a session id, or "path:" and a path; "" if by nothing.
	Key() string
}

// Ping asks for the time; it is the one action that leaves no record.
type Ping struct{}

// GetPermissions asks what the caller may do.
type GetPermissions struct{}

// GetSystemInfo asks about the machine and the file system of the served root.
type GetSystemInfo struct{}

// GetAllReports asks for the reports of instances; there never are any.
type GetAllReports struct{}

// UploadRequest opens an upload.
type UploadRequest struct {
	// Path as sent, "" if absent: then it becomes uploads/<file_id>.
	Path    string `json:"path,omitempty"`
	HasPath bool   `json:"has_path"`
	// SHA1 is the digest the complete file must have, lower-case hex, or "".
	SHA1 string `json:"sha1,omitempty"`
	// Timeout is the longest pause between two chunks, 1 s to 24 h.
	Timeout time.Duration `json:"timeout_ns"`
	// Size in bytes, 1 to the configured maximum.
	Size int64 `json:"size"`
	// Stream takes a Size of 0, too, which is placed at once, and of -1: it is
	// not known yet, and Receive will be told.
	Stream bool `json:"stream,omitempty"`
	// Meta is what UploadStatus gives back, as it is: of a client of tus.
	Meta string `json:"meta,omitempty"`
	// Follow: its bytes come with the request. The opening is not waited for, and
	// is durable once the UploadWriter's Close has returned; if it is refused
	// late, Close says so.
	Follow bool `json:"-"`
}

// UploadChunk stores bytes of an upload.
type UploadChunk struct {
	Session sessions.ID `json:"file_id"`
	Offset  int64       `json:"offset"`
	// Data belongs to the caller again once Call.Took has been called. It
	// never enters the journal.
	Data []byte `json:"-"`
	// Text marks bytes that came as UTF-16 code units, whose last byte may be
	// padding (PROTOCOL.md §4).
	Text bool `json:"text,omitempty"`
}

// UploadCancel ends an upload and drops its bytes.
type UploadCancel struct {
	Session sessions.ID `json:"file_id"`
}

// UploadStatusOf asks how an upload stands, or how it ended.
type UploadStatusOf struct {
	Session sessions.ID `json:"file_id"`
}

// TransferList asks for the caller's live sessions.
type TransferList struct{}

// DownloadRequest opens a download of a file as it is now.
type DownloadRequest struct {
	Path string `json:"path"`
	// Timeout is the longest pause between two requests, 1 s to 24 h.
	Timeout time.Duration `json:"timeout_ns"`
	// URL asks for an address that needs no token, which the wire makes.
	URL bool `json:"url,omitempty"`
}

// DownloadChunk reads bytes From up to, not including, To of a download.
type DownloadChunk struct {
	Session sessions.ID `json:"file_id"`
	From    int64       `json:"from"`
	To      int64       `json:"to"`
	// Base64 is how the wire was asked to render the bytes; the core hands it
	// back in Content.
	Base64 bool `json:"-"`
}

// DownloadClose ends a download.
type DownloadClose struct {
	Session sessions.ID `json:"file_id"`
}

// FileInfo asks for a file's metadata.
type FileInfo struct {
	Path string `json:"path"`
}

// DirectoryInfo asks for a directory's entries.
type DirectoryInfo struct {
	Path string `json:"path"`
}

// JobOf asks how an asynchronous action stands.
type JobOf struct {
	Job sessions.ID `json:"job"`
}

func (Ping) Name() string            { return "ping" }
func (GetPermissions) Name() string  { return "get_permissions" }
func (GetSystemInfo) Name() string   { return "get_system_info" }
func (GetAllReports) Name() string   { return "get_all_reports" }
func (*UploadRequest) Name() string  { return "file_upload_request" }
func (*UploadChunk) Name() string    { return "file_upload_chunk" }
func (*UploadCancel) Name() string   { return "file_upload_cancel" }
func (*UploadStatusOf) Name() string { return "file_upload_status" }
func (TransferList) Name() string    { return "file_transfer_list" }
func (*DownloadRequest) Name() string {
	return "file_download_request"
}
func (*DownloadChunk) Name() string { return "file_download_chunk" }
func (*DownloadClose) Name() string { return "file_download_close" }
func (*FileInfo) Name() string      { return "get_file_info" }
func (*DirectoryInfo) Name() string { return "get_directory_info" }
func (*JobOf) Name() string         { return "get_job" }

func (Ping) Key() string            { return "" }
func (GetPermissions) Key() string  { return "" }
func (GetSystemInfo) Key() string   { return "" }
func (GetAllReports) Key() string   { return "" }
func (TransferList) Key() string    { return "" }
func (*JobOf) Key() string          { return "" }
func (a *UploadChunk) Key() string  { return sessionKey(a.Session) }
func (a *UploadCancel) Key() string { return sessionKey(a.Session) }
func (a *UploadStatusOf) Key() string {
	return sessionKey(a.Session)
}
func (a *DownloadChunk) Key() string   { return sessionKey(a.Session) }
func (a *DownloadClose) Key() string   { return sessionKey(a.Session) }
func (a *DownloadRequest) Key() string { return pathKey(a.Path) }
func (a *FileInfo) Key() string        { return pathKey(a.Path) }
func (a *DirectoryInfo) Key() string   { return pathKey(a.Path) }

// Key of an upload without a path is none: nothing else can name its target.
func (a *UploadRequest) Key() string {
	if !a.HasPath {
		return ""
	}
	return pathKey(a.Path)
}

const sessionPrefix = "id:"

func sessionKey(id sessions.ID) string { return sessionPrefix + id.String() }

// pathKey orders by the normalised name; a name that does not parse is
// refused anyway, so it needs no order.
func pathKey(path string) string {
	n, err := fsview.ParseName(path)
	if err != nil {
		return ""
	}
	return "path:" + n.String()
}
