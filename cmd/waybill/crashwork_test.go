package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	// Nearly as many long records as fit, then such as need a page each, until one
	// does not.
	const long, page = 59_000, 4096
	left := c.segmentSize(c.state)/((long/page+1)*page) - 3
	c.append(c.state, long, func(uint64) bool { left--; return left == 0 })
	c.fillUp(3_000)
	c.begins()
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.on(func(p *panel) error {
			const most = 1000
			for n, before := 0, c.segmentSize(c.state); c.segmentSize(c.state) == before; n++ {
				if n == most {
					return fmt.Errorf("it does not grow by %d records", n)
				}
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

// fillUp adds records of a size as long as the segment need not grow for them.
// What bbolt does is not the same every time.
func (c *crashed) fillUp(size int) {
	copied := filepath.Join(c.at, "copied")
	for grown := c.segmentSize(c.state); ; {
		require.NoError(c.t, os.RemoveAll(copied))
		require.NoError(c.t, os.CopyFS(copied, os.DirFS(c.state)))
		c.append(c.state, size, func(uint64) bool { return true })
		if c.segmentSize(c.state) > grown {
			break
		}
	}
	require.NoError(c.t, os.RemoveAll(c.state))
	require.NoError(c.t, os.Rename(copied, c.state))
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

// pruning takes two segments out of a journal of three.
func pruning(t *testing.T) *crashed {
	t.Helper()
	c := newCrashed(t, "--archive")
	archive := filepath.Join(c.at, archiveAt)
	c.flags = append(c.flags, archive)
	c.lay()
	require.NoError(t, os.Mkdir(archive, 0o700))
	c.server.start()
	c.stop()
	for n := range uint64(2) {
		end := (n + 1) * journal.SegmentRecords
		c.append(c.state, 0, func(size uint64) bool { return size == end+50 })
		c.server.start()
		eventually(t, "the segment has a snapshot", func() bool {
			return exists(filepath.Join(c.state, actions.Stored{Seq: end}.Name()))
		})
		c.stop()
	}
	c.begins()
	put := func(e *docErrand, name string, kind byte) {
		require.NoError(t, e.on(func(p *panel) error {
			return e.put(p, name, noise(kind, 10_000), 2_500, 1, asPacket, nil)
		}))
	}
	c.live(func() []ack {
		e := c.errand()
		put(e, "before", 80)
		key, err := c.prune(e.token)
		require.NoError(t, err)
		c.cuts = append(c.cuts, key)
		put(e, "after", 81)
		c.stop()
		return e.acks
	})
	c.live(func() []ack {
		e := c.errand()
		put(e, "again", 82)
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

// prune asks for every segment to go that is old, which is every full one, and
// returns the key of the answer.
func (c *crashed) prune(token string) (key string, err error) {
	p := &porter{addr: c.addr, traced: true}
	defer p.close()
	if err := p.dial(); err != nil {
		return "", err
	}
	before := url.QueryEscape(time.Now().UTC().Format(time.RFC3339Nano))
	if _, err := fmt.Fprintf(p.conn, "POST /journal/prune?before=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n",
		before, c.addr, token); err != nil {
		return "", err
	}
	r, err := p.receive(http.MethodPost)
	if err == nil && (r.status != http.StatusOK || !strings.Contains(string(r.body), `"segments":2`)) {
		err = fmt.Errorf("pruning is answered %s", &r)
	}
	return r.key, err
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
