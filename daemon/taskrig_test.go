package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/sessions"
)

// taskRig is a daemon with FTPS, and its engine to make tasks with.
type taskRig struct {
	*rig
	s     *server
	clock *taskClock
	made  int
}

// taskClock is the engine's clock: the real one, but that it can be put forward,
// and stopped.
type taskClock struct {
	mu    sync.Mutex
	off   time.Duration
	still time.Time // where it was stopped, zero if it runs
}

func (c *taskClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.still.IsZero() {
		return c.still.Add(c.off)
	}
	return time.Now().Add(c.off)
}

func (c *taskClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.still = time.Now()
}

func (c *taskClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// runTasks runs a daemon whose refusals do not take their time.
func runTasks(t testing.TB, change func(*Config)) *taskRig {
	t.Helper()
	r := &taskRig{clock: new(taskClock)}
	r.rig = run(t, func(c *Config) {
		c.FTPListen, c.now = "127.0.0.1:0", r.clock.now
		c.FTPTimes.Refuse = time.Millisecond
		c.serving = func(s *server) { r.s = s }
		if change != nil {
			change(c)
		}
	})
	return r
}

// again stops the daemon and starts it on the same state.
func (r *taskRig) again() {
	r.t.Helper()
	require.NoError(r.t, r.stop())
	r.rig = restart(r.t, r.cfg)
}

// doc asks as a user, with a token that a login would give; as "" with the main
// token.
func (r *taskRig) doc(user string, a actions.DocAction) (actions.DocResult, error) {
	r.t.Helper()
	c := actions.DocCall{Username: user, Token: r.token, Local: true, Peer: "127.0.0.1:9", Via: "test", Action: a}
	if user != "" {
		secret, err := os.ReadFile(filepath.Join(r.cfg.State, fileTokenSecret))
		require.NoError(r.t, err)
		c.Token, err = acl.SignToken(secret, user, uuid.NewString(), r.clock.now().UnixMicro())
		require.NoError(r.t, err)
	}
	return r.s.engine.Document(context.Background(), c)
}

func (r *taskRig) mustDoc(user string, a actions.DocAction) actions.DocResult {
	r.t.Helper()
	result, err := r.doc(user, a)
	require.NoError(r.t, err)
	return result
}

func docFile(id, action string) *actions.OperateFile {
	return &actions.OperateFile{FileOp: doctree.FileOp{FileID: &id, Action: &action}}
}

// create makes a file as admin, with its write task.
func (r *taskRig) create() *actions.TaskOpened {
	r.t.Helper()
	r.made++
	return r.createNamed(fmt.Sprintf("doc%d.bin", r.made))
}

func (r *taskRig) createNamed(name string) *actions.TaskOpened {
	r.t.Helper()
	id := uuid.NewString()
	result := r.mustDoc("admin", &actions.CreateFile{HasData: true, NewFile: doctree.NewFile{FileID: &id, Filename: &name}})
	return result.(*actions.TaskOpened)
}

// write and read are new tasks on the document of another one.
func (r *taskRig) write(o *actions.TaskOpened) *actions.TaskOpened {
	r.t.Helper()
	return r.mustDoc("admin", docFile(o.Key, "write")).(*actions.TaskOpened)
}

func (r *taskRig) read(o *actions.TaskOpened) *actions.TaskOpened {
	r.t.Helper()
	return r.mustDoc("admin", docFile(o.Key, "read")).(*actions.TaskOpened)
}

// stored makes a document with a content.
func (r *taskRig) stored(data []byte) *actions.TaskOpened {
	r.t.Helper()
	o := r.create()
	r.store(o, data)
	return o
}

// store publishes a content through the engine.
func (r *taskRig) store(o *actions.TaskOpened, data []byte) {
	r.t.Helper()
	w, err := r.task(o).Store(0, false)
	require.NoError(r.t, err)
	_, err = w.Write(data)
	require.NoError(r.t, err)
	_, err = w.Publish("")
	require.NoError(r.t, err)
}

func (r *taskRig) task(o *actions.TaskOpened) *actions.Task {
	r.t.Helper()
	task, err := r.s.engine.Task(actions.TaskCall{ID: o.ID, Token: o.Token, Via: "test"})
	require.NoError(r.t, err)
	return task
}

// status is how a task stands.
func (r *taskRig) status(o *actions.TaskOpened) actions.TaskStatus {
	r.t.Helper()
	st, err := r.task(o).Status()
	require.NoError(r.t, err)
	return st
}

// keeps asserts that a write task is open with so many durable bytes, those of
// data, and that its document still has the content before.
func (r *taskRig) keeps(o *actions.TaskOpened, data, before []byte) {
	r.t.Helper()
	st := r.status(o)
	assert.Equal(r.t, sessions.Open, st.State)
	assert.Equal(r.t, int64(len(data)), st.Size)
	r.shows(o, before)
}

// shows asserts what a document's newest content is.
func (r *taskRig) shows(o *actions.TaskOpened, data []byte) {
	r.t.Helper()
	from, err := r.task(r.read(o)).Read()
	require.NoError(r.t, err)
	got, err := io.ReadAll(from)
	require.NoError(r.t, err)
	require.NoError(r.t, from.Close())
	assert.Equal(r.t, hexSum(data), hexSum(got), "%d bytes, not %d", len(got), len(data))
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// refused counts the records of failed uses of a task.
func (r *taskRig) refused(o *actions.TaskOpened, code acl.Code) int {
	r.t.Helper()
	return count(r.records(), func(rec record) bool {
		params, _ := rec.Body["params"].(map[string]any)
		id, _ := params["session"].(string)
		return rec.Kind == actions.KindRefused && id != "" && fakeOf(id) == o.FakeName && rec.Body["code"] == string(code)
	})
}

func fakeOf(session string) string {
	id, err := uuid.Parse(session)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// user makes a user who may read and write.
func (r *taskRig) user(name string) {
	r.t.Helper()
	password := "pw"
	r.mustDoc("admin", &actions.CreateUser{NewUser: acl.NewUser{
		Username: &name, Password: &password, Groups: json.RawMessage(`["user","sysop"]`),
	}})
}

// path is where a task is reached over HTTP.
func taskURL(o *actions.TaskOpened) string { return taskPath + o.ID + "/" + o.FakeName }

// http makes a request for a task, with its token; header is pairs.
func (r *taskRig) http(method string, o *actions.TaskOpened, body string, header ...string) (int, string, http.Header) {
	r.t.Helper()
	return r.do(method, taskURL(o), body, append([]string{"Authorization", "Bearer " + o.Token}, header...)...)
}

// soonStatus waits until a task stands as it should.
func (r *taskRig) soonStatus(o *actions.TaskOpened, what string, ok func(actions.TaskStatus) bool) {
	r.t.Helper()
	require.True(r.t, soon(func() bool { return ok(r.status(o)) }), what)
}

// received is how many bytes of uploads the engine has taken in, durable or not.
func (r *taskRig) received() int { return r.counted("received") }

// counted is how many bytes of files were received, or sent.
func (r *taskRig) counted(what string) int {
	r.t.Helper()
	_, body, _ := r.do("GET", "/metrics", "")
	_, after, ok := strings.Cut(body, "\nwaybill_content_"+what+"_bytes_total ")
	require.True(r.t, ok, body)
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.ParseFloat(line, 64)
	require.NoError(r.t, err)
	return int(n)
}

// soonReceived waits until there are so many. What a client sends before it
// breaks is lost with the connection, unless it is waited for.
func (r *taskRig) soonReceived(n int) {
	r.t.Helper()
	require.True(r.t, soon(func() bool { return r.received() >= n }), "the bytes do not come")
}
