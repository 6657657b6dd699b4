package main

import (
	bits "encoding/binary"
	"errors"
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
	var cut task
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
			if err := r.most(k, half, 4_000, 12_000); err != nil {
				return err
			}
			// And one with more bytes than were counted.
			if cut, err = r.create("cut"); err != nil {
				return err
			}
			if err := r.most(cut, half, 4_000, 8_000); err != nil {
				return err
			}
			if err := r.p.send(http.MethodPatch, cut, at(8_000, false), half[8_000:12_000], len(half)); err != nil {
				return err
			}
			staged := filepath.Join(newStore(filepath.Join(c.state, "objects"), c.store).staging, cut.session())
			eventually(t, "the bytes come", func() bool {
				fi, err := os.Stat(staged)
				return err == nil && fi.Size() == 12_000
			})
			c.kill()
			return nil
		}))
		return e.acks
	})
	c.odd = true // it goes on with what was counted before
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
			if err == nil {
				err = r.whole(http.MethodPatch, cut, at(8_000, true), 8_000, half[:8_000])
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
// names none, finds a staged file that nobody knows and a checkpoint that is none,
// and comes to the end of the room that its segment has. Where it may, it serves
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
	c.shrink()
	c.notGood = []byte("not a checkpoint\n")
	require.NoError(t, os.WriteFile(filepath.Join(c.state, "checkpoint"), c.notGood, 0o600))
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
			return errors.Join(e.put(p, "mounted/file", noise(71, 12_000), 4_000, 1, asPacket, nil), c.grow(&e.errand, p))
		}))
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

const firstSegment = "seg-0000000000000000.db"

// shrink takes from the segment of a daemon that does not run the room that was
// set aside for it.
func (c *crashed) shrink() {
	path := filepath.Join(c.state, "journal", firstSegment)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(c.t, err)
	defer f.Close()
	// Of the two metas the newer one counts. It says how many pages there are.
	const atPages, atNumber = 56, 64
	var pages, newest uint64
	for i := range int64(metas) {
		meta := make([]byte, atNumber+8)
		_, err := f.ReadAt(meta, i*pageBytes)
		require.NoError(c.t, err)
		if n := bits.LittleEndian.Uint64(meta[atNumber:]); n >= newest {
			newest, pages = n, bits.LittleEndian.Uint64(meta[atPages:])
		}
	}
	require.NoError(c.t, f.Truncate(int64(pages)*pageBytes))
}

// grow asks for what leaves long records until the segment gets more room.
func (c *crashed) grow(e *errand, p *panel) error {
	size := func() int64 {
		fi, err := os.Stat(filepath.Join(c.state, "journal", firstSegment))
		require.NoError(c.t, err)
		return fi.Size()
	}
	path := strings.Repeat(strings.Repeat("x", 240)+"/", 4) + "x"
	const most, room = 1000, 16 << 20 // of one that has grown
	for n := 0; size() < room; n++ {
		if n == most {
			return fmt.Errorf("it does not grow by %d records", n)
		}
		if err := e.refused(p, "get_file_info", fileParams{path}, actions.CodeNotFound); err != nil {
			return err
		}
	}
	return nil
}

// rolling works across the end of a segment.
func rolling(t *testing.T) *crashed {
	t.Helper()
	const room = 30
	c := newCrashed(t)
	c.lay()
	c.server.start()
	c.stop()
	c.fill(journal.SegmentRecords - room)
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
		c.fill(end + 50)
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

// fill adds records that say nothing to the journal of a daemon that does not run,
// until it has so many.
func (c *crashed) fill(size uint64) {
	log, err := journal.Open(filepath.Join(c.state, "journal"), journal.Options{})
	require.NoError(c.t, err)
	body := []byte(`{"action":"get_permissions","code":"ok"}`)
	for seq := log.Head().Size; seq < size; {
		var lines [][]byte
		for ; seq < size && len(lines) < journal.MaxBatchRecords; seq++ {
			lines = append(lines, journal.AppendRecord(nil, &journal.Record{
				Seq: seq, At: log.LastAt(), Kind: "action.answered", Actor: "main", Via: "test", Ref: fmt.Sprint("filler ", seq), Body: body,
			}))
		}
		require.NoError(c.t, log.Append(lines))
	}
	require.NoError(c.t, log.Close())
}
