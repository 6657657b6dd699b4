package actions

import (
	"waybill/fsview"
	"waybill/sessions"
)

// Result is what an action that succeeded answers: one of the types of this
// file. Their JSON form is the journal's (a job's outcome), not a wire's.
type Result interface{ isResult() }

// Empty is the result of actions that answer nothing but success.
type Empty struct{}

// Pong is the daemon's clock.
type Pong struct {
	TimeMS int64 `json:"time_ms"`
}

// PermissionList is what the caller was granted, as granted.
type PermissionList struct {
	Permissions []string `json:"permissions"`
}

// SystemInfo describes the machine. Memory is in KiB, the drive in bytes, CPU
// usage in percent of all cores since the last time it was asked for.
type SystemInfo struct {
	OS  OSInfo    `json:"os"`
	CPU CPUInfo   `json:"cpu"`
	Mem MemInfo   `json:"mem"`
	Drv DriveInfo `json:"drive"`
}

// OSInfo names the operating system and the architecture.
type OSInfo struct {
	Name string `json:"name"`
	Arch string `json:"arch"`
}

// CPUInfo describes the processor; Usage is in percent.
type CPUInfo struct {
	Vendor string  `json:"vendor"`
	Name   string  `json:"name"`
	Count  int     `json:"count"`
	Usage  float64 `json:"usage"`
}

// MemInfo is in KiB.
type MemInfo struct {
	Total uint64 `json:"total"`
	Free  uint64 `json:"free"`
}

// DriveInfo describes the file system of the served root, in bytes.
type DriveInfo struct {
	Format string `json:"drive_format"`
	Total  uint64 `json:"total"`
	Free   uint64 `json:"free"`
}

// Reports holds the reports of instances, of which there are none.
type Reports struct{}

// UploadOpened names the session of a new upload.
type UploadOpened struct {
	ID sessions.ID `json:"file_id"`

	late *upload // if the opening was not waited for
}

// Refused is why an opening that was not waited for (UploadRequest.Follow) has come
// to nothing, nil if it has not yet, and of all others.
func (o *UploadOpened) Refused() error {
	if o.late == nil {
		return nil
	}
	o.late.mu.Lock()
	defer o.late.mu.Unlock()
	return o.late.refused
}

// ChunkStored answers a chunk whose bytes are durable. Received counts the
// distinct bytes stored; Done is true for the chunk that arrived last in the
// window that completed the file, after the file stands under its name.
type ChunkStored struct {
	Done     bool  `json:"done"`
	Received int64 `json:"received"`
}

// UploadStatus is how an upload stands, or how it ended.
type UploadStatus struct {
	ID sessions.ID `json:"file_id"`
	// State is "open", "placed", "rejected", "cancelled" or "expired".
	State string `json:"state"`
	Path  string `json:"path"`
	// Size is -1 while it is not known.
	Size     int64 `json:"size"`
	Received int64 `json:"received"`
	// Missing are the ranges not stored, [from,to), at most 1,024; More tells
	// that there are others.
	Missing [][2]int64 `json:"missing"`
	More    bool       `json:"more,omitempty"`
	// ExpiresMS is what is left of the idle timeout, 0 once ended.
	ExpiresMS int64 `json:"expires_in"`
	// SHA1 is set once the upload is sealed.
	SHA1 string `json:"sha1,omitempty"`
	// Code is CodeOK while open and once placed, else why it ended.
	Code Code `json:"code"`
	// Prefix is how many bytes are stored without a gap from the first one on.
	Prefix int64 `json:"prefix,omitempty"`
	// Meta is what the upload was opened with.
	Meta string `json:"meta,omitempty"`
}

// DownloadStatus is how a live download stands.
type DownloadStatus struct {
	ID        sessions.ID `json:"file_id"`
	Path      string      `json:"path"`
	Size      int64       `json:"size"`
	SHA1      string      `json:"sha1"`
	ExpiresMS int64       `json:"expires_in"`
}

// Transfers are the live sessions a caller may see, oldest first.
type Transfers struct {
	Uploads   []UploadStatus   `json:"uploads"`
	Downloads []DownloadStatus `json:"downloads"`
}

// DownloadOpened describes the file a new download is bound to.
type DownloadOpened struct {
	ID   sessions.ID `json:"file_id"`
	Size int64       `json:"size"`
	SHA1 string      `json:"sha1"`
	// URL tells that an address was asked for that needs no token. The wire makes
	// it: it opens the file to whoever has it, and must not enter the journal.
	URL bool `json:"url,omitempty"`
}

// Content is the bytes of a download chunk. It never enters the journal.
// Release, if not nil, must be called once Bytes are no longer needed.
type Content struct {
	Bytes   []byte
	Base64  bool
	Release func()
}

// FileMeta is a file's metadata.
type FileMeta struct {
	Meta fsview.Meta `json:"meta"`
}

// Listing is a directory's metadata and its entries, sorted by name.
type Listing struct {
	Parent  string        `json:"parent"`
	Meta    fsview.Meta   `json:"meta"`
	Entries []fsview.Meta `json:"entries"`
}

// JobStatus is how an asynchronous action stands. Code, Message and Result
// are set once State is "ok" or "error".
type JobStatus struct {
	// State is "queued", "running", "ok" or "error".
	State   string
	Code    Code
	Message string
	Result  Result
}

func (Empty) isResult()           {}
func (*Pong) isResult()           {}
func (*PermissionList) isResult() {}
func (*SystemInfo) isResult()     {}
func (Reports) isResult()         {}
func (*UploadOpened) isResult()   {}
func (*ChunkStored) isResult()    {}
func (*UploadStatus) isResult()   {}
func (*Transfers) isResult()      {}
func (*DownloadOpened) isResult() {}
func (*Content) isResult()        {}
func (*FileMeta) isResult()       {}
func (*Listing) isResult()        {}
func (*JobStatus) isResult()      {}
