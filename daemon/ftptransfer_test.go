package daemon

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/sessions"
)

func TestFTPListings(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := []byte("seven b")
	o := r.stored(data)
	back := r.read(o)
	c := r.ftp(back)
	name := back.FakeName
	lists := func(want bool, size int) {
		t.Helper()
		for _, cmd := range []string{"LIST", "LIST -la", "LIST /", "NLST", "MLSD", "MLSD /"} {
			got, code := c.get("%s", cmd)
			assert.Equal(t, 226, code, cmd)
			if !want {
				assert.Empty(t, got, cmd)
				continue
			}
			assert.Equal(t, 1, strings.Count(got, "\r\n"), got)
			assert.Contains(t, got, name, cmd)
			if cmd != "NLST" {
				assert.Contains(t, got, strconv.Itoa(size), cmd)
			}
		}
	}
	lists(true, len(data))
	got, code := c.get("NLST")
	assert.Equal(t, name+"\r\n", got)
	assert.Equal(t, 226, code)
	assert.Equal(t, "213 7\r\n", c.want(213, "SIZE %s", name))
	assert.Equal(t, "213 7\r\n", c.want(213, "SIZE /%s", name))
	assert.Contains(t, c.want(250, "MLST %s", name), "Type=file;Size=7;Modify=")
	assert.Contains(t, c.want(250, "MLST"), "Type=dir;")
	stamp, err := time.Parse("20060102150405", strings.TrimSpace(c.want(213, "MDTM %s", name)[4:]))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), stamp, time.Minute)
	for _, cmd := range []string{"SIZE", "MDTM", "MLST"} {
		assert.Equal(t, "550 No such file.\r\n", c.want(550, "%s other", cmd))
	}
	c.epsv()
	c.want(550, "LIST other")
	// In ASCII the size is that of the bytes, too.
	c.want(200, "TYPE A")
	assert.Equal(t, "213 7\r\n", c.want(213, "SIZE %s", name))

	// A write task's file appears once bytes are stored.
	into := r.write(o)
	c, name = r.ftp(into), into.FakeName
	lists(false, 0)
	for _, cmd := range []string{"SIZE", "MDTM", "MLST"} {
		c.want(550, "%s %s", cmd, name)
	}
}

// What is stored of an upload can be seen, and no more than that.
func TestFTPShowsWhatIsDurable(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	o := r.create()
	r.part(o, []byte("four"))
	c := r.ftp(o)
	assert.Equal(t, "213 4\r\n", c.want(213, "SIZE %s", o.FakeName))
	got, code := c.get("NLST")
	assert.Equal(t, 226, code)
	assert.Equal(t, o.FakeName+"\r\n", got)
	// A task that was cancelled has nothing any more.
	r.write(o)
	c.want(550, "SIZE %s", o.FakeName)
}

// part leaves an upload incomplete, through the engine.
func (r *taskRig) part(o *actions.TaskOpened, data []byte) {
	r.t.Helper()
	w, err := r.task(o).Store(actions.AtEnd, true)
	require.NoError(r.t, err)
	_, err = w.Write(data)
	require.NoError(r.t, err)
	_, err = w.Keep()
	require.NoError(r.t, err)
}

func TestFTPRetrieve(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(300_000)
	o := r.stored(data)
	back := r.read(o)
	c := r.ftp(back)
	c.epsv()
	c.want(550, "RETR other")
	c.want(550, "STOR %s", back.FakeName)
	c.want(550, "APPE %s", back.FakeName)
	c.want(550, "STOR other")
	c.want(350, "REST 300001")
	c.want(554, "RETR %s", back.FakeName)
	c.want(350, "REST -1")
	c.want(554, "RETR %s", back.FakeName)
	assert.Equal(t, sessions.Open, r.status(back).State)
	for _, from := range []int{299_999, 100_000, 0} {
		c.want(350, "REST %d", from)
		got, code := c.get("RETR %s", back.FakeName)
		assert.Equal(t, 226, code)
		assert.Equal(t, string(data[from:]), got)
	}
	// The end was sent: the task is finished. This session may read again, a new
	// one may not log in.
	assert.Equal(t, sessions.Closed, r.status(back).State)
	got, code := c.get("RETR %s", back.FakeName)
	assert.Equal(t, 226, code)
	assert.Equal(t, string(data), got)
	c.want(350, "REST 300000")
	got, code = c.get("RETR %s", back.FakeName)
	assert.Equal(t, 226, code)
	assert.Empty(t, got)
	c.want(213, "SIZE %s", back.FakeName)
	assert.Equal(t, 530, r.login(back.ID, back.Token))

	// Out of a write task nothing is read.
	c = r.ftp(r.write(o))
	c.epsv()
	c.want(550, "RETR x")

	// Nothing at all is a file, too.
	empty := r.read(r.stored(nil))
	c = r.ftp(empty)
	got, code = c.get("RETR %s", empty.FakeName)
	assert.Equal(t, 226, code)
	assert.Empty(t, got)
	assert.Equal(t, sessions.Closed, r.status(empty).State)

	// Bytes are what they are, in ASCII too.
	lines := []byte("a\nb\r\nc\rd\n")
	o = r.create()
	c = r.ftp(o)
	c.want(200, "TYPE A")
	require.Equal(t, 226, c.put(lines, "STOR %s", o.FakeName))
	back = r.read(o)
	c = r.ftp(back)
	c.want(200, "TYPE A")
	got, code = c.get("RETR %s", back.FakeName)
	assert.Equal(t, 226, code)
	assert.Equal(t, string(lines), got)
}

// A download that breaks leaves the task open, however much of it was already on
// its way.
func TestFTPRetrieveBreaks(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	for name, size := range map[string]int{"a small file": 30_000, "a large one": 8 << 20} {
		for how, end := range map[string]func(*ftpTransfer) error{
			"reset": (*ftpTransfer).reset, "closed": (*ftpTransfer).fin,
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				data := random(size)
				back := r.read(r.stored(data))
				c := r.ftp(back)
				mark := r.counted("sent")
				d := c.begin("RETR %s", back.FakeName)
				if size < 100_000 { // all of it is on its way, and nothing was read
					require.True(t, soon(func() bool { return r.counted("sent") == mark+size }))
				} else {
					_, err := io.ReadFull(d.tls, make([]byte, 20_000))
					require.NoError(t, err)
				}
				require.NoError(t, end(d))
				code, text := c.reply()
				assert.Equal(t, 426, code, text)
				assert.Equal(t, sessions.Open, r.status(back).State)
				c = r.ftp(back)
				c.want(350, "REST 20000")
				got, code := c.get("RETR %s", back.FakeName)
				assert.Equal(t, 226, code)
				assert.Equal(t, hexSum(data[20_000:]), hexSum([]byte(got)))
				assert.Equal(t, sessions.Closed, r.status(back).State)
			})
		}
	}
	t.Run("cancelled", func(t *testing.T) {
		o := r.stored(random(64 << 20))
		back := r.read(o)
		c := r.ftp(back)
		d := c.begin("RETR %s", back.FakeName)
		_, err := io.ReadFull(d.tls, make([]byte, 20_000))
		require.NoError(t, err)
		r.mustDoc("admin", docFile(o.Key, "permanently_delete"))
		code, text := c.reply()
		assert.Equal(t, 550, code, text)
		assert.Equal(t, sessions.Cancelled, r.status(back).State)
	})
	t.Run("a client that keeps its side open", func(t *testing.T) {
		back := r.read(r.stored([]byte("all of it")))
		c := r.ftp(back)
		d := c.begin("RETR %s", back.FakeName)
		got, err := io.ReadAll(d.tls)
		require.NoError(t, err)
		assert.Equal(t, "all of it", string(got))
		code, text := c.reply() // though the connection is not closed
		assert.Equal(t, 226, code, text)
		assert.Equal(t, sessions.Closed, r.status(back).State)
	})
	t.Run("a client that reads no more", func(t *testing.T) {
		r := runTasks(t, func(c *Config) { c.TaskStall = time.Second })
		back := r.read(r.stored(random(64 << 20)))
		c := r.ftp(back)
		c.begin("RETR %s", back.FakeName)
		code, text := c.reply()
		assert.Equal(t, 426, code, text)
		assert.Equal(t, sessions.Open, r.status(back).State)
	})
}

func TestFTPStore(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := []byte("the revision before"), random(100_000)

	// fresh is a document with a revision, and a write task with half the data.
	fresh := func() (*actions.TaskOpened, *ftpClient) {
		o := r.write(r.stored(old))
		r.part(o, data[:50_000])
		r.keeps(o, data[:50_000], old)
		return o, r.ftp(o)
	}
	t.Run("from the start", func(t *testing.T) {
		o, c := fresh()
		require.Equal(t, 226, c.put([]byte("short"), "STOR %s", o.FakeName))
		r.shows(o, []byte("short"))
	})
	t.Run("from where it ended", func(t *testing.T) {
		o, c := fresh()
		c.want(350, "REST 50000")
		require.Equal(t, 226, c.put(data[50_000:], "STOR %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("from before", func(t *testing.T) {
		o, c := fresh()
		c.want(350, "REST 20000")
		require.Equal(t, 226, c.put(data[20_000:], "STOR %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("from beyond", func(t *testing.T) {
		o, c := fresh()
		c.epsv()
		c.want(350, "REST 50001")
		c.want(554, "STOR %s", o.FakeName)
		c.want(350, "REST -1")
		c.want(554, "STOR %s", o.FakeName)
		r.keeps(o, data[:50_000], old)
		// An offset counts once.
		require.Equal(t, 226, c.put(data, "STOR %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("appended", func(t *testing.T) {
		o, c := fresh()
		c.want(350, "REST 7")
		require.Equal(t, 226, c.put(data[50_000:], "APPE %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("appended to nothing", func(t *testing.T) {
		o := r.create()
		require.Equal(t, 226, r.ftp(o).put(data, "APPE %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("appended nothing", func(t *testing.T) {
		o, c := fresh()
		require.Equal(t, 226, c.put(nil, "APPE %s", o.FakeName))
		r.shows(o, data[:50_000])
	})
	t.Run("nothing at all", func(t *testing.T) {
		o, c := fresh()
		require.Equal(t, 226, c.put(nil, "STOR %s", o.FakeName))
		r.shows(o, nil)
	})
	t.Run("under another name", func(t *testing.T) {
		o, c := fresh()
		c.epsv()
		c.want(553, "STOR other")
		c.want(553, "APPE other")
		c.want(553, "STOR /dir/%s", o.FakeName)
		r.keeps(o, data[:50_000], old)
	})
	t.Run("as long as announced", func(t *testing.T) {
		o, c := fresh()
		c.want(200, "ALLO %d", len(data))
		require.Equal(t, 426, c.put(data[:70_000], "STOR %s", o.FakeName))
		r.keeps(o, data[:70_000], old)
		c.want(200, "ALLO %d R 100", len(data))
		require.Equal(t, 226, c.put(data[70_000:], "APPE %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("longer than announced", func(t *testing.T) {
		o, c := fresh()
		c.want(200, "ALLO 60000")
		require.Equal(t, 426, c.put(data, "STOR %s", o.FakeName))
		// What was announced counts once.
		require.Equal(t, 226, c.put(data, "STOR %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("twice", func(t *testing.T) {
		o, c := fresh()
		require.Equal(t, 226, c.put(data, "STOR %s", o.FakeName))
		c.epsv()
		c.want(550, "STOR %s", o.FakeName)
		c.want(550, "APPE %s", o.FakeName)
		r.shows(o, data)
		assert.Equal(t, sessions.Published, r.status(o).State)
	})
	t.Run("without a data connection", func(t *testing.T) {
		o, c := fresh()
		c.want(425, "STOR %s", o.FakeName)
		c.epsv()
		c.want(226, "ABOR")
		c.want(425, "STOR %s", o.FakeName)
		require.NoError(t, c.open("STOR %s", o.FakeName).fin())
		code, text := c.reply()
		assert.Equal(t, 426, code, text)
		r.keeps(o, data[:50_000], old)
	})
}

// Whoever reads meanwhile sees the revision before.
func TestFTPIncompleteIsNotSeen(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	old, data := []byte("before"), random(10<<20)
	o := r.write(r.stored(old))
	c := r.ftp(o)
	d := c.begin("STOR %s", o.FakeName)
	_, err := d.tls.Write(data)
	require.NoError(t, err)
	r.soonStatus(o, "bytes become durable as they come", func(st actions.TaskStatus) bool { return st.Size > 0 })
	r.shows(o, old)
	require.NoError(t, d.fin())
	code, text := c.reply()
	require.Equal(t, 226, code, text)
	r.shows(o, data)
}

func TestFTPStoreIsRefused(t *testing.T) {
	t.Parallel()
	const most = 1000
	var full atomic.Bool
	r := runTasks(t, func(c *Config) {
		c.Limits.MaxFileSize = most
		c.FileFault = func(op, name string, do func() error) error {
			if op == "staged.write" && full.Load() {
				return unix.ENOSPC
			}
			return do()
		}
	})
	old, data := []byte("before"), random(500)
	t.Run("too big", func(t *testing.T) {
		o := r.write(r.stored(old))
		c := r.ftp(o)
		require.Equal(t, 552, c.put(random(most+1), "STOR %s", o.FakeName))
		r.shows(o, old)
		require.Equal(t, 226, c.put(random(most), "STOR %s", o.FakeName))
	})
	t.Run("disk full", func(t *testing.T) {
		o := r.write(r.stored(old))
		r.part(o, data)
		c := r.ftp(o)
		full.Store(true)
		require.Equal(t, 452, c.put(data, "APPE %s", o.FakeName))
		full.Store(false)
		r.keeps(o, data, old)
		require.Equal(t, 226, c.put(nil, "APPE %s", o.FakeName))
		r.shows(o, data)
	})
	t.Run("target deleted meanwhile", func(t *testing.T) {
		o := r.write(r.stored(old))
		c := r.ftp(o)
		d := c.begin("STOR %s", o.FakeName)
		_, err := d.tls.Write(data)
		require.NoError(t, err)
		r.mustDoc("admin", docFile(o.Key, "delete"))
		code, text := c.reply() // the running transfer ends
		assert.Equal(t, 550, code, text)
		assert.Equal(t, sessions.Cancelled, r.status(o).State)
	})
	t.Run("superseded meanwhile", func(t *testing.T) {
		o := r.write(r.stored(old))
		c := r.ftp(o)
		d := c.begin("STOR %s", o.FakeName)
		_, err := d.tls.Write(data)
		require.NoError(t, err)
		next := r.write(o)
		code, text := c.reply()
		assert.Equal(t, 550, code, text)
		r.keeps(next, nil, old)
	})
	t.Run("rights gone meanwhile", func(t *testing.T) {
		r.user("eve")
		id := "eves"
		o := r.mustDoc("eve", &actions.CreateFile{HasData: true, NewFile: doctree.NewFile{FileID: &id}}).(*actions.TaskOpened)
		c := r.ftp(o)
		d := c.begin("STOR %s", o.FakeName)
		_, err := d.tls.Write(data)
		require.NoError(t, err)
		eve := "eve"
		r.mustDoc("admin", &actions.OperateUser{UserOp: acl.UserOp{Action: "set_groups", Username: &eve, NewGroups: json.RawMessage(`{}`)}})
		r.mustDoc("admin", &actions.SetAccess{SetAccess: doctree.SetAccess{
			ID: &id, AccessRules: json.RawMessage(`{"write":[{"match":"all","match_groups":[{"match":"all","groups":{"match":"all","require":["sysop"]}}]}]}`),
		}})
		require.NoError(t, d.fin())
		code, text := c.reply()
		assert.Equal(t, "550 Not enough privileges.\r\n", text)
		assert.Equal(t, 550, code)
		assert.Equal(t, sessions.Rejected, r.status(o).State)
		assert.Equal(t, 1, r.refused(o, acl.CodeTaskDenied))
		assert.Equal(t, 530, r.login(o.ID, o.Token))
	})
}

// A new upload ends the one that runs on the same task, whose bytes count.
func TestFTPSupersedes(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := random(100_000)
	o := r.create()
	first, second := r.ftp(o), r.ftp(o)
	d := first.begin("STOR %s", o.FakeName)
	_, err := d.tls.Write(data[:60_000])
	require.NoError(t, err)
	// Not before the bytes have been taken in; that they are durable can be seen
	// only once somebody makes them so.
	r.soonStatus(o, "a stalled transfer's bytes become durable", func(st actions.TaskStatus) bool { return st.Size == 60_000 })
	require.Equal(t, 226, second.put(data[60_000:], "APPE %s", o.FakeName))
	code, text := first.reply()
	assert.Equal(t, 426, code, text)
	r.shows(o, data)
	first.want(550, "SIZE x") // the session goes on
}

// Expiry ends an idle task and spares one under way.
func TestFTPExpiry(t *testing.T) {
	t.Parallel()
	r := runTasks(t, nil)
	data := []byte("in time")
	busy, idle := r.create(), r.create()
	r.part(idle, data)
	c, waiting := r.ftp(busy), r.ftp(idle)
	d := c.begin("STOR %s", busy.FakeName)
	_, err := d.tls.Write(data)
	require.NoError(t, err)
	reading := r.read(r.stored(random(64 << 20)))
	reader := r.ftp(reading)
	from := reader.begin("RETR %s", reading.FakeName)

	r.clock.advance(2 * time.Hour)
	r.soonStatus(idle, "an idle task expires", func(st actions.TaskStatus) bool { return st.State == sessions.Expired })
	assert.Equal(t, sessions.Open, r.status(busy).State)
	assert.Equal(t, sessions.Open, r.status(reading).State)
	waiting.want(550, "SIZE %s", idle.FakeName)
	waiting.epsv()
	waiting.want(550, "APPE %s", idle.FakeName)

	require.NoError(t, d.fin())
	code, text := c.reply()
	require.Equal(t, 226, code, text)
	r.shows(busy, data)
	n, err := io.Copy(io.Discard, from.tls)
	require.NoError(t, err)
	require.NoError(t, from.tls.Close())
	assert.Equal(t, int64(64<<20), n)
	code, text = reader.reply()
	assert.Equal(t, 226, code, text)
}

// After a failure of the journal nothing is answered.
func TestFTPJournalFails(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	made := errors.New("made up")
	r := runTasks(t, func(c *Config) {
		c.JournalFault = func(_ string, do func() error) error {
			if broken.Load() {
				return made
			}
			return do()
		}
	})
	o := r.create()
	c, idle := r.ftp(o), r.ftp(o)
	d := c.begin("STOR %s", o.FakeName)
	_, err := d.tls.Write([]byte("never acknowledged"))
	require.NoError(t, err)
	broken.Store(true)
	require.NoError(t, d.fin())
	for _, c := range []*ftpClient{c, idle} {
		code, text := c.reply()
		assert.Zero(t, code, "no answer: %s", text)
	}
	assert.ErrorIs(t, r.wait(), made)
	r.rig.stop = func() error { return nil } // it has
}
