package actions

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Spec is one row of the table of actions.
type Spec struct {
	// Name is the canonical name; aliases lead to the same Spec.
	Name string
	// Permission is what the caller must have been granted, "" for none.
	Permission string
	// Async tells whether NAME_async may be asked for.
	Async bool
	// Unavailable marks actions that are known but not offered here.
	Unavailable bool

	// action and result make empty values to read a queued action and a
	// job's result back into; nil where there is neither.
	action func() Action
	result func() Result
}

const (
	permUpload    = "mcsl.daemon.file.upload"
	permDownload  = "mcsl.daemon.file.download"
	permFileInfo  = "mcsl.daemon.file.info.file"
	permDirectory = "mcsl.daemon.file.info.directory"
)

// specs is PROTOCOL.md §5, one row an action.
var specs = []Spec{
	{Name: "ping"},
	{Name: "login"},
	{Name: "get_job"},
	{Name: "get_permissions", Async: true,
		action: func() Action { return new(GetPermissions) }, result: func() Result { return new(PermissionList) }},
	{Name: "get_system_info", Async: true,
		action: func() Action { return new(GetSystemInfo) }, result: func() Result { return new(SystemInfo) }},
	{Name: "get_all_reports", Async: true,
		action: func() Action { return new(GetAllReports) }, result: func() Result { return new(Reports) }},
	{Name: "file_upload_request", Permission: permUpload, Async: true,
		action: func() Action { return new(UploadRequest) }, result: func() Result { return new(UploadOpened) }},
	{Name: "file_upload_chunk", Permission: permUpload, Async: true,
		action: func() Action { return new(UploadChunk) }, result: func() Result { return new(ChunkStored) }},
	{Name: "file_upload_cancel", Permission: permUpload, Async: true,
		action: func() Action { return new(UploadCancel) }, result: func() Result { return new(Empty) }},
	{Name: "file_upload_status", Permission: permUpload, Async: true,
		action: func() Action { return new(UploadStatusOf) }, result: func() Result { return new(UploadStatus) }},
	{Name: "file_transfer_list", Permission: permUpload, Async: true,
		action: func() Action { return new(TransferList) }, result: func() Result { return new(Transfers) }},
	{Name: "file_download_request", Permission: permDownload, Async: true,
		action: func() Action { return new(DownloadRequest) }, result: func() Result { return new(DownloadOpened) }},
	{Name: "file_download_chunk", Permission: permDownload},
	{Name: "file_download_close", Permission: permDownload, Async: true,
		action: func() Action { return new(DownloadClose) }, result: func() Result { return new(Empty) }},
	{Name: "get_file_info", Permission: permFileInfo, Async: true,
		action: func() Action { return new(FileInfo) }, result: func() Result { return new(FileMeta) }},
	{Name: "get_directory_info", Permission: permDirectory},
	{Name: "add_instance", Unavailable: true},
	{Name: "remove_instance", Unavailable: true},
	{Name: "start_instance", Unavailable: true},
	{Name: "stop_instance", Unavailable: true},
	{Name: "kill_instance", Unavailable: true},
	{Name: "send_to_instance", Unavailable: true},
	{Name: "get_instance_report", Unavailable: true},
	{Name: "get_java_list", Unavailable: true},
}

// aliases lead from names that clients also use to the canonical one.
var aliases = map[string]string{
	"file_upload_chunk_raw": "file_upload_chunk",
	"file_download_range":   "file_download_chunk",
}

var byName = func() map[string]*Spec {
	m := make(map[string]*Spec, len(specs)+len(aliases))
	for i := range specs {
		m[specs[i].Name] = &specs[i]
	}
	for alias, name := range aliases {
		m[alias] = m[name]
	}
	return m
}()

// Lookup returns the row of an action by its canonical name or an alias,
// without a suffix "_async".
func Lookup(name string) (*Spec, bool) {
	s, ok := byName[name]
	return s, ok
}

// Specs returns the whole table, so that others can be tested against it.
func Specs() []Spec { return append([]Spec(nil), specs...) }

// encodeAction writes an action down for job.queued. Bytes to be stored are
// not part of it.
func encodeAction(a Action) (json.RawMessage, error) { return marshal(a) }

// decodeAction reads back what encodeAction wrote.
func decodeAction(name string, params json.RawMessage) (Action, error) {
	spec, ok := Lookup(name)
	if !ok || spec.action == nil {
		return nil, fmt.Errorf("action %q cannot be queued", name)
	}
	a := spec.action()
	if err := json.Unmarshal(params, a); err != nil {
		return nil, fmt.Errorf("params of %s: %w", name, err)
	}
	switch a := a.(type) {
	case *GetPermissions:
		return *a, nil
	case *GetSystemInfo:
		return *a, nil
	case *GetAllReports:
		return *a, nil
	case *TransferList:
		return *a, nil
	}
	return a, nil
}

// decodeResult reads a job's result back into its type.
func decodeResult(name string, result json.RawMessage) (Result, error) {
	spec, ok := Lookup(name)
	if !ok || spec.result == nil {
		return nil, fmt.Errorf("action %q has no result to keep", name)
	}
	r := spec.result()
	if err := json.Unmarshal(result, r); err != nil {
		return nil, fmt.Errorf("result of %s: %w", name, err)
	}
	switch r.(type) {
	case *Empty:
		return Empty{}, nil
	case *Reports:
		return Reports{}, nil
	}
	return r, nil
}

// recordedParams is what an action.* record says an action was asked with:
// never secrets or contents (no Action's JSON has them), long strings only by
// their digest, and integers that JSON readers would round as text.
func recordedParams(a Action) json.RawMessage {
	if a == nil {
		return nil
	}
	raw, err := marshal(a)
	if err != nil {
		panic(fmt.Sprintf("actions: params of %s: %v", a.Name(), err)) // the types of action.go always encode
	}
	if len(raw) <= maxParamString && !longNumber(raw) {
		return raw
	}
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		panic(fmt.Sprintf("actions: params of %s: %v", a.Name(), err)) // we encoded them a line above
	}
	for k, v := range fields {
		switch v := v.(type) {
		case string:
			if len(v) > maxParamString {
				fields[k] = summary(v)
			}
		case json.Number:
			if n, err := v.Int64(); err != nil || n <= -1<<53 || n >= 1<<53 {
				fields[k] = v.String()
			}
		}
	}
	raw, err = marshal(fields)
	if err != nil {
		panic(fmt.Sprintf("actions: params of %s: %v", a.Name(), err)) // nothing in it that does not encode
	}
	return raw
}

// longNumber tells whether there may be an integer from 2^53 on in b.
func longNumber(b []byte) bool {
	digits := 0
	for _, c := range b {
		if digits++; c-'0' > 9 {
			digits = 0
		}
		if digits == len("9007199254740992") {
			return true
		}
	}
	return false
}

// summary stands for a string that is too long for a record.
func summary(s string) any {
	sum := sha256.Sum256([]byte(s))
	return map[string]any{"sha256": hex.EncodeToString(sum[:]), "len": len(s)}
}
