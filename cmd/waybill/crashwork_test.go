package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

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

// founding is a first start with a password that is given to it, and little
// more.
func founding(t *testing.T) *crashed {
	t.Helper()
	c := newCrashed(t, "--admin-password", "given")
	c.lay()
	c.begins()
	c.live(func() []ack {
		e := c.errand()
		require.NoError(t, e.part((*carrier).uploads))
		c.stop()
		return e.acks
	})
	c.over()
	return c
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
		c.stop()
		return e.acks
	})
	c.over()
	return c
}

// fill adds records that say nothing to the journal of a daemon that does not
// run, until it has so many.
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
