package panelwire

import (
	"strconv"

	"waybill/actions"
	"waybill/sessions"
)

// Options choose between shapes that different clients want.
type Options struct {
	// SplitListing lists directories apart from files, as older desktop
	// clients want.
	SplitListing bool
	// DownloadURL makes the address of a download that opens it without a token.
	// It is called for downloads whose opener asked for one.
	DownloadURL func(sessions.ID) string
}

// nilUUID answers a message whose id could not be read.
const nilUUID = `"00000000-0000-0000-0000-000000000000"`

// AppendOK appends the reply to a request that succeeded. A nil res answers
// with no data.
func AppendOK(dst []byte, r *Request, res actions.Result, opt Options) []byte {
	if r.Envelope == IDEnvelope {
		dst = append(dst, `{"status":"ok","retcode":0,"message":"Ok","data":`...)
		dst = appendResult(dst, res, opt, r.Envelope)
		return appendID(dst, r)
	}
	dst = append(dst, `{"status":"ok","data":`...)
	dst = appendResult(dst, res, opt, r.Envelope)
	dst = append(dst, `,"message":"","retcode":0`...)
	return appendEcho(dst, r)
}

// AppendError appends the reply to a request that failed or could not be read.
// It tells the code's name and the detail of the *actions.Error in err's
// chain; of any other error only that it was unexpected.
func AppendError(dst []byte, r *Request, err error) []byte {
	code, text := describe(err)
	if r.Envelope == IDEnvelope {
		dst = append(dst, `{"status":"error","retcode":`...)
		dst = strconv.AppendInt(dst, int64(retcode(code)), 10)
		dst = append(dst, `,"message":`...)
		dst = appendString(dst, text)
		dst = append(dst, `,"data":null`...)
		return appendID(dst, r)
	}
	status := "error"
	if code == actions.CodeUnauthorized {
		status, text = "unauthorized", ""
	}
	dst = append(dst, `{"status":"`...)
	dst = append(dst, status...)
	// Never null: clients index into data without looking at status.
	dst = append(dst, `","data":{},"message":`...)
	dst = appendString(dst, text)
	dst = append(dst, `,"retcode":`...)
	dst = strconv.AppendInt(dst, int64(retcode(code)), 10)
	return appendEcho(dst, r)
}

// AppendAsync appends the reply to a request that was queued as job.
func AppendAsync(dst []byte, r *Request, job sessions.ID) []byte {
	if r.Envelope == IDEnvelope {
		dst = append(dst, `{"status":"ok","retcode":0,"message":"Ok","data":{"job":"`...)
		dst = job.Append(dst)
		dst = append(dst, `"}`...)
		return appendID(dst, r)
	}
	dst = append(dst, `{"status":"async","data":{},"message":"","retcode":0`...)
	return appendEcho(dst, r)
}

// AppendFrameReply appends the reply to an upload frame, which has neither id
// nor status: what was stored, or the error if err is not nil.
func AppendFrameReply(dst []byte, id sessions.ID, stored *actions.ChunkStored, err error) []byte {
	dst = append(dst, `{"file_id":"`...)
	dst = id.Append(dst)
	dst = append(dst, '"', ',')
	if err != nil {
		_, text := describe(err)
		dst = append(dst, `"error":`...)
		return append(appendString(dst, text), '}')
	}
	return append(appendChunk(dst, stored), '}')
}

func appendID(dst []byte, r *Request) []byte {
	dst = append(dst, `,"id":`...)
	if r.RawID == nil {
		dst = append(dst, nilUUID...)
	} else {
		dst = append(dst, r.RawID...)
	}
	return append(dst, '}')
}

func appendEcho(dst []byte, r *Request) []byte {
	if r.RawEcho != nil {
		dst = append(dst, `,"echo":`...)
		dst = append(dst, r.RawEcho...)
	}
	return append(dst, '}')
}
