package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/journal"
	"waybill/sessions"
)

// lay makes the directories that a daemon is to have before it is started for
// the first time: what is served is there, STATE is not.
func (c *crashed) lay() {
	require.NoError(c.t, os.MkdirAll(c.root, 0o755))
	require.NoError(c.t, os.MkdirAll(filepath.Dir(c.state), 0o755))
	require.NoError(c.t, os.WriteFile(filepath.Join(c.root, "old.bin"), []byte("the old file"), 0o644))
}

// errand begins one with the daemon that runs.
func (c *crashed) errand() *docErrand {
	return &docErrand{errand: errand{s: c.server, token: tokenOf(c.t, c.server)}}
}

// work is the workload over everything: from nothing at all to a stop that a
// request of the library asks for; then a life that is ended by a kill with
// things half done; then one that does the rest.
func work(t *testing.T) *crashed {
	t.Helper()
	c := newCrashed(t, "--purge-interval", "100ms")
	c.lay()
	c.begins()
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.errand.run())
		require.NoError(t, e.run())
		c.stop()
		return e.acks
	})
	half := noise(50, 6*4_000)
	var file string
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.on(func(p *panel) (err error) {
			if err := e.put(p, "old.bin", noise(51, 15_000), 5_000, 2, asPacket, nil); err != nil {
				return err
			}
			if file, err = e.open(p, "half/done", half); err != nil {
				return err
			}
			return e.chunks(p, file, half, pieces(len(half), 4_000)[2:5])
		}))
		require.NoError(t, e.part(func(r *carrier) error {
			k, err := r.create("half done")
			if err != nil {
				return err
			}
			return r.most(k, half, 4_000, 12_000)
		}))
		c.kill()
		return e.acks
	})
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.on(func(p *panel) error {
			ranges := pieces(len(half), 4_000)
			return e.chunks(p, file, half, append(ranges[:2:2], ranges[5]))
		}))
		require.NoError(t, e.part(func(r *carrier) error {
			k, err := r.toWrite("half done")
			if err == nil {
				err = r.put(k, half)
			}
			return err
		}))
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

// on runs a part of the errand over a connection of its own.
func (e *errand) on(do func(*panel) error) error {
	p, err := dialPanel(e.s.addr, e.token)
	if err != nil {
		return err
	}
	defer p.close()
	return do(p)
}

// chunks stores some ranges of a file, one after the other. The last one
// completes it if it is complete then.
func (e *errand) chunks(p *panel, file string, data []byte, ranges []sessions.Range) error {
	for _, r := range ranges {
		w, err := asPacket(p, file, r, data[r[0]:r[1]])
		if err != nil {
			return err
		}
		var stored storedReply
		if err := w.into(&stored); err != nil {
			return err
		}
		e.got(ack{key: w.id, action: "file_upload_chunk", session: file, Range: r, done: stored.Done})
	}
	return nil
}

// refounding is a start that makes the store of contents anew, for a journal that
// names none, and finds a staged file that nobody knows. Where it may, it serves
// a directory that is a file system of its own.
func refounding(t *testing.T) *crashed {
	t.Helper()
	c := newCrashed(t)
	c.lay()
	c.server.start()
	c.stop()
	require.NoError(t, os.RemoveAll(filepath.Join(c.state, "objects")))
	c.odd = true // strays and copies are
	stray := freshID()
	staging, err := filepath.Glob(filepath.Join(c.root, ".waybill", "*", "staging"))
	require.NoError(t, err)
	require.Len(t, staging, 1)
	c.strays[stray] = noise(70, 5_000)
	require.NoError(t, os.WriteFile(filepath.Join(staging[0], stray), c.strays[stray], 0o600))
	mounted := filepath.Join(c.root, "mounted")
	require.NoError(t, os.Mkdir(mounted, 0o755))
	if err := unix.Mount("waybill-test", mounted, "tmpfs", 0, ""); err == nil {
		t.Cleanup(func() { assert.NoError(t, unix.Unmount(mounted, 0)) })
	} else {
		t.Logf("nothing is copied: %v", err)
	}
	c.begins()
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.part((*carrier).uploads))
		require.NoError(t, e.on(func(p *panel) error {
			return e.put(p, "mounted/file", noise(71, 12_000), 4_000, 1, asPacket, nil)
		}))
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

// growing makes a segment grow beyond the room that was set aside for it.
func growing(t *testing.T) *crashed {
	t.Helper()
	c := newCrashed(t)
	c.lay()
	c.server.start()
	c.stop()
	// As many records as fit, of 59,000 bytes and then of 3,000.
	for _, size := range []int{59_000, 3_000} {
		if n := c.untilGrown(size) - 1; n > 0 {
			c.append(c.state, size, func(uint64) bool { n--; return n == 0 })
		}
	}
	c.begins()
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.on(func(p *panel) error {
			for before := c.segmentSize(c.state); c.segmentSize(c.state) == before; {
				if err := e.ask(p, "get_permissions", nil, nil); err != nil {
					return err
				}
			}
			return nil
		}))
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

func (c *crashed) segmentSize(state string) int64 {
	fi, err := os.Stat(filepath.Join(state, "journal", "seg-0000000000000000.db"))
	require.NoError(c.t, err)
	return fi.Size()
}

// untilGrown is the number of records of a size after which the segment, which
// stays as it is, would have grown.
func (c *crashed) untilGrown(size int) (n int) {
	state := filepath.Join(c.at, "scratch")
	require.NoError(c.t, os.CopyFS(state, os.DirFS(c.state)))
	defer func() { require.NoError(c.t, os.RemoveAll(state)) }()
	before := c.segmentSize(state)
	c.append(state, size, func(uint64) bool {
		n++
		return c.segmentSize(state) != before
	})
	return n
}

// rolling works across the end of a segment.
func rolling(t *testing.T) *crashed {
	t.Helper()
	const room = 30
	c := newCrashed(t)
	c.lay()
	c.server.start()
	c.stop()
	c.append(c.state, 0, func(size uint64) bool { return size == journal.SegmentRecords-room })
	c.begins()
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.on(func(p *panel) error {
			for i := range 3 {
				err := e.put(p, fmt.Sprint("rolling/", i), noise(byte(60+i), 40_000), 4_000, 1+i, asPacket, rand.New(rand.NewPCG(4, uint64(i))))
				if err != nil {
					return err
				}
			}
			return e.putQueued(p, "queued", noise(63, 12_000), 4_000)
		}))
		require.NoError(t, e.part((*carrier).equals))
		eventually(t, "the segment is sealed, and has a snapshot", func() bool {
			return exists(filepath.Join(c.state, actions.Stored{Seq: journal.SegmentRecords}.Name()))
		})
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

// append adds records that say nothing to the journal of a daemon that does not
// run, each of so many bytes and some more, and asks with the size of the journal
// whether that is enough. Short ones go in many at a time.
func (c *crashed) append(state string, size int, enough func(uint64) bool) {
	log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(c.t, err)
	body := fmt.Appendf(nil, `{"action":"get_permissions","code":"ok","message":%q}`, strings.Repeat("x", size))
	for done := false; !done; {
		var lines [][]byte
		for seq := log.Head().Size; !done && len(lines) < journal.MaxBatchRecords && (size == 0 || len(lines) == 0); seq++ {
			lines = append(lines, journal.AppendRecord(nil, &journal.Record{
				Seq: seq, At: log.LastAt(), Kind: "action.answered", Actor: "main", Via: "test", Ref: fmt.Sprint("filler ", seq), Body: body,
			}))
			done = size == 0 && enough(seq+1)
		}
		require.NoError(c.t, log.Append(lines))
		if size > 0 {
			done = enough(log.Head().Size)
		}
	}
	require.NoError(c.t, log.Close())
}
