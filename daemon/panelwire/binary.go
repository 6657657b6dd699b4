package panelwire

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"

	"waybill/actions"
	"waybill/sessions"
)

// frameHeader is the length of an upload frame without its data: file id,
// offset, SHA-1.
const frameHeader = 16 + 8 + sha1.Size

// packetMagic begins a request packet.
var packetMagic = []byte{0xbb, 0x2c, 0x00, 0x00}

// Frame is an upload frame, a chunk in binary without an envelope. It aliases
// the message.
type Frame struct {
	FileID sessions.ID
	Offset int64
	SHA1   [sha1.Size]byte
	Data   []byte
}

// DecodeBinary reads a binary frame: a request packet, then frame is nil and
// the rest is as in DecodeText; or an upload frame, then frame is not nil and
// the Request holds nothing. Answer the latter with AppendFrameReply, also
// after an error, which leaves its FileID zero. Both alias msg.
func DecodeBinary(msg []byte) (r Request, frame *Frame, err error) {
	if bytes.HasPrefix(msg, packetMagic) {
		r, err = decodePacket(msg[len(packetMagic):])
		return r, nil, err
	}
	f := &Frame{}
	if len(msg) < frameHeader {
		return Request{}, f, actions.Errorf(actions.CodeBadRequest, "upload frame is shorter than %d bytes", frameHeader)
	}
	f.FileID = guid([16]byte(msg))
	f.Offset = int64(binary.LittleEndian.Uint64(msg[16:]))
	f.SHA1 = [sha1.Size]byte(msg[24:])
	f.Data = msg[frameHeader:]
	return Request{}, f, nil
}

// Chunk checks the frame's digest and offset and returns the action it is. It
// hashes Data, so the permission should be checked first.
func (f *Frame) Chunk() (*actions.UploadChunk, error) {
	if f.Offset < 0 {
		return nil, actions.Errorf(actions.CodeParam, "offset is out of range")
	}
	if sha1.Sum(f.Data) != f.SHA1 {
		return nil, actions.Errorf(actions.CodeParam, "sha1 does not match the data")
	}
	return &actions.UploadChunk{Session: f.FileID, Offset: f.Offset, Data: f.Data}, nil
}

// decodePacket reads what follows a packet's magic. Its two parts fill the
// frame exactly: bytes that belong to neither would be dropped silently.
func decodePacket(b []byte) (Request, error) {
	text, n := binary.Uvarint(b)
	if n <= 0 {
		return Request{Envelope: IDEnvelope}, errPacket()
	}
	b = b[n:]
	attached, n := binary.Uvarint(b)
	if n <= 0 {
		return Request{Envelope: IDEnvelope}, errPacket()
	}
	b = b[n:]
	if text > uint64(len(b)) || attached != uint64(len(b))-text {
		return Request{Envelope: IDEnvelope}, errPacket()
	}
	// No append to one part can reach into the other.
	r, err := DecodeText(b[:text:text])
	r.Attachment, r.HasAttachment = b[text:], true
	return r, err
}

func errPacket() error {
	return actions.Errorf(actions.CodeBadRequest, "packet lengths do not fit the frame")
}

// guid turns a .NET byte order GUID into the order a UUID is written in, and
// back: the first three groups are little-endian.
func guid(b [16]byte) sessions.ID {
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return sessions.ID(b)
}
