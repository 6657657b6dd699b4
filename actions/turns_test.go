package actions

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However long the disk took, a fold rests for a moment only, and not at all when
// it is told to stop.
func TestRestsAreShort(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	due := func() *turns {
		turn := newTurns(s.log)
		turn.size--                             // the journal has grown
		turn.since = time.Now().Add(-time.Hour) // it hung
		turn.left = 1
		return turn
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan error, 2)
	go func() {
		done <- due().take(context.Background())
		turn := due()
		turn.since = time.Now().Add(-time.Minute)
		done <- turn.take(ended)
	}()
	for _, want := range []error{nil, context.Canceled} {
		select {
		case err := <-done:
			assert.True(t, errors.Is(err, want), err)
		case <-time.After(20 * time.Second):
			require.Fail(t, "it rests for longer than anybody waits")
		}
	}
	assert.Equal(t, 4*turnLength, restAfter(turnLength))
	assert.Equal(t, longestRest, restAfter(time.Hour))
	assert.LessOrEqual(t, longestRest, 20*time.Millisecond)
}
