package actions

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/sessions"
)

var modelRuns = flag.Int("model.runs", 0, "how many random histories each model has, and rounds each race; 0 is as many as are enough for every day")

func runs() int {
	switch {
	case *modelRuns > 0:
		return *modelRuns
	case testing.Short():
		return 2
	}
	return 6
}

// model is what a client knows of one upload: what it sent last for each
// byte, and which of it was acknowledged.
type model struct {
	id    sessions.ID
	path  string
	data  []byte
	acked sessions.Set
	// state is how it ended, "" while open.
	state string
}

// TestModel runs random histories of several uploads with crashes between
// and compares what the engine says with what a client knows: nothing
// acknowledged is ever missing, every placed file is what was sent, and the
// fold equals the live state at every stop (the rig checks that).
func TestModel(t *testing.T) {
	for seed := range uint64(runs()) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			history{t: t, rig: newRig(t), rand: rand.New(rand.NewPCG(seed, 7))}.run(120)
		})
	}
}

type history struct {
	t    *testing.T
	rig  *rig
	rand *rand.Rand
}

func (h history) run(steps int) {
	h.rig.mustStart()
	var live, ended []*model
	placed := make(map[string][]byte)
	for step := range steps {
		if len(live) == 0 || len(live) < 4 && h.rand.IntN(6) == 0 {
			live = append(live, h.open(step))
			continue
		}
		i := h.rand.IntN(len(live))
		m := live[i]
		switch h.rand.IntN(12) {
		case 0:
			h.rig.crash()
			h.rig.mustStart()
		case 1:
			h.rig.close()
			h.rig.mustStart()
		case 2:
			_, err := h.rig.do(&UploadCancel{Session: m.id})
			require.NoError(h.t, err)
			m.state = "cancelled"
		case 3:
			// Only m is left alone for longer than its timeout.
			for _, other := range live {
				if other != m {
					h.rig.status(other.id)
				}
			}
			h.rig.clock.Advance(70 * time.Second)
			for _, other := range live {
				if other != m {
					h.rig.status(other.id)
				}
			}
			require.NoError(h.t, h.rig.reap(h.rig.clock.Now()))
			m.state = "expired"
		default:
			h.chunk(m)
		}
		if m.state == "placed" {
			placed[m.path] = m.data
		}
		if m.state != "" {
			ended = append(ended, m)
			live = append(live[:i], live[i+1:]...)
		}
		for _, m := range live {
			h.agrees(m)
		}
	}
	for _, m := range ended {
		assert.Equal(h.t, m.state, h.rig.status(m.id).State)
	}
	for path, data := range placed {
		have, err := os.ReadFile(h.rig.path(path))
		require.NoError(h.t, err)
		assert.True(h.t, bytes.Equal(data, have), "%s is not what was sent", path)
	}
}

func (h history) open(step int) *model {
	m := &model{path: fmt.Sprintf("d%d/f%d", h.rand.IntN(3), step), data: make([]byte, 1+h.rand.IntN(60_000))}
	res, err := h.rig.do(&UploadRequest{Path: m.path, HasPath: true, Size: int64(len(m.data)), Timeout: time.Minute})
	m.id = must[*UploadOpened](h.t, res, err).ID
	return m
}

// chunk sends random bytes for a random range, sometimes the same again.
func (h history) chunk(m *model) {
	size := len(m.data)
	from := h.rand.IntN(size)
	to := from + 1 + h.rand.IntN(size-from)
	if h.rand.IntN(3) == 0 {
		// Aim at what is missing, or nothing is ever completed.
		if gaps, _ := m.acked.Missing(sessions.Range{0, int64(size)}, 0); len(gaps) > 0 {
			from, to = int(gaps[0][0]), int(gaps[0][1])
		}
	}
	data := m.data[from:to]
	if h.rand.IntN(4) > 0 {
		data = make([]byte, to-from)
		for i := range data {
			data[i] = byte(h.rand.Uint32())
		}
	}
	got, err := h.rig.put(m.id, int64(from), data)
	require.NoError(h.t, err)
	copy(m.data[from:], data)
	m.acked.Add(sessions.Range{int64(from), int64(to)})
	assert.Equal(h.t, m.acked.Len(), got.Received)
	assert.Equal(h.t, m.acked.Len() == int64(size), got.Done)
	if got.Done {
		m.state = "placed"
	}
}

func (h history) agrees(m *model) {
	st := h.rig.status(m.id)
	require.Equal(h.t, "open", st.State)
	want, _ := m.acked.Missing(sessions.Range{0, int64(len(m.data))}, 0)
	require.Len(h.t, st.Missing, len(want))
	for i, r := range want {
		require.Equal(h.t, [2]int64(r), st.Missing[i])
	}
}
