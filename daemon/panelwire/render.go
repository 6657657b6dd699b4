package panelwire

import (
	"math"
	"strconv"

	"github.com/emmansun/base64"

	"waybill/actions"
)

// appendResult appends the data object of a result.
func appendResult(dst []byte, res actions.Result, opt Options, env Envelope) []byte {
	dst = append(dst, '{')
	switch res := res.(type) {
	case nil, actions.Empty, *actions.Empty:
	case *actions.Pong:
		dst = appendInt(dst, `"time":`, res.TimeMS)
	case *actions.PermissionList:
		dst = append(dst, `"permissions":`...)
		dst = appendList(dst, res.Permissions, appendString)
	case *actions.SystemInfo:
		dst = appendSystem(dst, res)
	case actions.Reports, *actions.Reports:
		dst = append(dst, `"reports":{}`...)
	case *actions.UploadOpened:
		dst = appendFileID(dst, res.ID)
	case *actions.ChunkStored:
		dst = appendChunk(dst, res)
	case *actions.UploadStatus:
		dst = appendUpload(dst, res)
	case *actions.Transfers:
		dst = appendTransfers(dst, res)
	case *actions.DownloadOpened:
		dst = appendFileID(dst, res.ID)
		dst = appendInt(dst, `,"size":`, res.Size)
		dst = appendText(dst, `,"sha1":`, res.SHA1)
		if res.URL && opt.DownloadURL != nil {
			dst = appendText(dst, `,"url":`, opt.DownloadURL(res.ID))
		}
	case *actions.Content:
		dst = append(dst, `"content":`...)
		dst = appendContent(dst, res)
	case *actions.FileMeta:
		dst = append(dst, `"meta":`...)
		dst = appendMeta(dst, res)
	case *actions.Listing:
		dst = appendListing(dst, res, opt)
	case *actions.JobStatus:
		dst = appendJob(dst, res, opt, env)
	default:
		panic("panelwire: unknown result") // the set is closed, and a test renders all of it
	}
	return append(dst, '}')
}

func appendInt(dst []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(dst, key...), v, 10)
}

func appendText(dst []byte, key, v string) []byte {
	return appendString(append(dst, key...), v)
}

func appendBool(dst []byte, key string, v bool) []byte {
	return strconv.AppendBool(append(dst, key...), v)
}

// appendList appends an array, [] for none.
func appendList[T any](dst []byte, list []T, one func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = one(dst, v)
	}
	return append(dst, ']')
}

func appendFileID(dst []byte, id interface{ Append([]byte) []byte }) []byte {
	dst = append(dst, `"file_id":"`...)
	return append(id.Append(dst), '"')
}

func appendChunk(dst []byte, c *actions.ChunkStored) []byte {
	dst = appendBool(dst, `"done":`, c.Done)
	return appendInt(dst, `,"received":`, c.Received)
}

func appendContent(dst []byte, c *actions.Content) []byte {
	if !c.Base64 {
		return AppendByteString(dst, c.Bytes)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, c.Bytes)
	return append(dst, '"')
}

func appendUpload(dst []byte, u *actions.UploadStatus) []byte {
	dst = appendText(dst, `"state":`, u.State)
	dst = appendText(dst, `,"path":`, u.Path)
	dst = appendInt(dst, `,"size":`, u.Size)
	dst = appendInt(dst, `,"received":`, u.Received)
	dst = append(dst, `,"missing":`...)
	dst = appendList(dst, u.Missing, func(dst []byte, r [2]int64) []byte {
		dst = appendInt(dst, "[", r[0])
		return append(appendInt(dst, ",", r[1]), ']')
	})
	if u.More {
		dst = append(dst, `,"more":true`...)
	}
	dst = appendInt(dst, `,"expires_in":`, u.ExpiresMS)
	if u.SHA1 != "" {
		dst = appendText(dst, `,"sha1":`, u.SHA1)
	}
	return appendInt(dst, `,"retcode":`, int64(retcode(u.Code)))
}

func appendTransfers(dst []byte, t *actions.Transfers) []byte {
	dst = append(dst, `"uploads":`...)
	dst = appendList(dst, t.Uploads, func(dst []byte, u actions.UploadStatus) []byte {
		dst = append(appendFileID(append(dst, '{'), u.ID), ',')
		return append(appendUpload(dst, &u), '}')
	})
	dst = append(dst, `,"downloads":`...)
	return appendList(dst, t.Downloads, func(dst []byte, d actions.DownloadStatus) []byte {
		dst = appendFileID(append(dst, '{'), d.ID)
		dst = appendText(dst, `,"path":`, d.Path)
		dst = appendInt(dst, `,"size":`, d.Size)
		dst = appendText(dst, `,"sha1":`, d.SHA1)
		return append(appendInt(dst, `,"expires_in":`, d.ExpiresMS), '}')
	})
}

func appendMeta(dst []byte, f *actions.FileMeta) []byte {
	m := &f.Meta
	dst = append(dst, '{')
	if !m.Dir {
		dst = appendBool(dst, `"read_only":`, m.ReadOnly)
		dst = appendInt(dst, `,"size":`, m.Size)
		dst = append(dst, ',')
	}
	dst = append(dst, `"link_target":`...)
	if m.LinkTarget == nil {
		dst = append(dst, `null`...)
	} else {
		dst = appendString(dst, *m.LinkTarget)
	}
	dst = appendBool(dst, `,"hidden":`, m.Hidden)
	dst = appendInt(dst, `,"creation_time":`, m.Created.Unix())
	dst = appendInt(dst, `,"last_write_time":`, m.Written.Unix())
	dst = appendInt(dst, `,"last_access_time":`, m.Accessed.Unix())
	return append(dst, '}')
}

func appendListing(dst []byte, l *actions.Listing, opt Options) []byte {
	dst = appendText(dst, `"parent":`, l.Parent)
	dst = append(dst, `,"meta":`...)
	dst = appendMeta(dst, &actions.FileMeta{Meta: l.Meta})
	dst = append(dst, `,"files":`...)
	if !opt.SplitListing {
		return appendEntries(dst, l, func(bool) bool { return true }, true)
	}
	dst = appendEntries(dst, l, func(dir bool) bool { return !dir }, true)
	dst = append(dst, `,"directories":`...)
	return appendEntries(dst, l, func(dir bool) bool { return dir }, false)
}

// appendEntries appends the wanted entries of a listing as an array.
func appendEntries(dst []byte, l *actions.Listing, wanted func(dir bool) bool, withType bool) []byte {
	dst = append(dst, '[')
	separator := ""
	for i := range l.Entries {
		f := actions.FileMeta{Meta: l.Entries[i]}
		if !wanted(f.Meta.Dir) {
			continue
		}
		dst = append(dst, separator...)
		separator = ","
		dst = appendText(dst, `{"name":`, f.Meta.Name)
		if withType {
			kind := "file"
			if f.Meta.Dir {
				kind = "directory"
			}
			dst = appendText(dst, `,"type":`, kind)
		}
		dst = append(dst, `,"meta":`...)
		dst = append(appendMeta(dst, &f), '}')
	}
	return append(dst, ']')
}

// appendJob answers get_job: what the plain action would have answered, in the
// form of the request's own envelope; data is {} where there is none.
func appendJob(dst []byte, j *actions.JobStatus, opt Options, env Envelope) []byte {
	code, text := actions.CodeOK, "" // while it is not known yet
	switch j.State {
	case "ok":
		switch { // a message says why there is no data
		case j.Message != "":
			text = message(actions.CodeOK, j.Message)
		case env == IDEnvelope:
			text = codes[actions.CodeOK].name
		}
	case "error":
		code, text = j.Code, message(j.Code, j.Message)
	}
	dst = appendText(dst, `"state":`, j.State)
	dst = appendInt(dst, `,"retcode":`, int64(retcode(code)))
	dst = appendText(dst, `,"message":`, text)
	dst = append(dst, `,"data":`...)
	res := j.Result
	if j.State != "ok" {
		res = nil
	}
	return appendResult(dst, res, opt, env)
}

func appendSystem(dst []byte, s *actions.SystemInfo) []byte {
	dst = appendText(dst, `"info":{"os":{"name":`, s.OS.Name)
	dst = appendText(dst, `,"arch":`, s.OS.Arch)
	dst = appendText(dst, `},"cpu":{"vendor":`, s.CPU.Vendor)
	dst = appendText(dst, `,"name":`, s.CPU.Name)
	dst = appendInt(dst, `,"count":`, int64(s.CPU.Count))
	dst = append(dst, `,"usage":`...)
	usage := s.CPU.Usage
	if !(usage >= 0 && usage <= 100) { // NaN has no JSON
		usage = 0
	}
	dst = strconv.AppendFloat(dst, math.Round(usage*100)/100, 'f', -1, 64)
	dst = append(dst, `},"mem":{"total":`...)
	dst = strconv.AppendUint(dst, s.Mem.Total, 10)
	dst = append(dst, `,"free":`...)
	dst = strconv.AppendUint(dst, s.Mem.Free, 10)
	dst = appendText(dst, `},"drive":{"drive_format":`, s.Drv.Format)
	dst = append(dst, `,"total":`...)
	dst = strconv.AppendUint(dst, s.Drv.Total, 10)
	dst = append(dst, `,"free":`...)
	dst = strconv.AppendUint(dst, s.Drv.Free, 10)
	return append(dst, `}}`...)
}
