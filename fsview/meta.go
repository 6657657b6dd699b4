package fsview

import (
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Meta is what a listing tells about one entry. A symlink is described by what
// it points to, but for Name, Hidden and LinkTarget.
type Meta struct {
	Name       string
	Dir        bool
	ReadOnly   bool    // no write bit at all; the daemon's own rights are not asked: root may write anything
	Hidden     bool    // the name begins with a dot
	Size       int64   // bytes; 0 for a directory
	LinkTarget *string // the text of the symlink, nil for what is none
	Created    time.Time
	Written    time.Time
	Accessed   time.Time
}

// metaJSON is the stored shape: times are unix seconds, which is all that is
// ever shown of them.
type metaJSON struct {
	Name       string  `json:"name"`
	Dir        bool    `json:"dir"`
	ReadOnly   bool    `json:"read_only"`
	Hidden     bool    `json:"hidden"`
	Size       int64   `json:"size"`
	LinkTarget *string `json:"link_target"`
	Created    int64   `json:"created"`
	Written    int64   `json:"written"`
	Accessed   int64   `json:"accessed"`
}

// MarshalJSON writes times as whole unix seconds.
func (m Meta) MarshalJSON() ([]byte, error) {
	return json.Marshal(metaJSON{m.Name, m.Dir, m.ReadOnly, m.Hidden, m.Size, m.LinkTarget,
		m.Created.Unix(), m.Written.Unix(), m.Accessed.Unix()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *Meta) UnmarshalJSON(b []byte) error {
	var j metaJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*m = Meta{j.Name, j.Dir, j.ReadOnly, j.Hidden, j.Size, j.LinkTarget,
		time.Unix(j.Created, 0), time.Unix(j.Written, 0), time.Unix(j.Accessed, 0)}
	return nil
}

// Identity says which bytes an opened file held: it changes when the file is
// replaced or written to. In JSON all but Size are decimal strings, because
// they may pass 2^53.
type Identity struct {
	Dev     uint64 `json:"dev,string"`
	Ino     uint64 `json:"ino,string"`
	Size    int64  `json:"size"`
	MtimeNS int64  `json:"mtime_ns,string"`
	CtimeNS int64  `json:"ctime_ns,string"`
}

// fileID is one inode of one file system.
type fileID struct{ dev, ino uint64 }

// statxMask is what metaOf and idOf need.
const statxMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

func idOf(st *unix.Statx_t) fileID {
	return fileID{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}
}

// metaOf describes the file behind st under the given name.
func metaOf(name string, st *unix.Statx_t) Meta {
	m := Meta{
		Name:     name,
		Dir:      st.Mode&unix.S_IFMT == unix.S_IFDIR,
		ReadOnly: st.Mode&0o222 == 0,
		Hidden:   name != "." && strings.HasPrefix(name, "."),
		Written:  when(st.Mtime),
		Accessed: when(st.Atime),
		Created:  when(st.Ctime),
	}
	if !m.Dir {
		m.Size = int64(st.Size)
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		m.Created = when(st.Btime)
	}
	return m
}

func when(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }
