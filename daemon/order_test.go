package daemon

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOrderScenarios(t *testing.T) {
	t.Parallel()
	chunk := func(keys ...string) *turn { return newTurn(true, keys) }
	other := func(keys ...string) *turn { return newTurn(false, keys) }

	t.Run("a chunk waits only until the one before it is taken", func(t *testing.T) {
		var o order
		a, b := chunk("id:1"), chunk("id:1")
		require.True(t, o.add(a))
		require.False(t, o.add(b))
		assert.Equal(t, []*turn{b}, o.took(a, nil))
		assert.Empty(t, o.took(a, nil), "taking twice changes nothing")
		assert.Empty(t, o.done(a, nil))
		assert.Empty(t, o.done(b, nil))
		assert.Empty(t, o.chains)
	})
	t.Run("a status waits for the replies of all chunks before it", func(t *testing.T) {
		var o order
		a, b, s := chunk("id:1"), chunk("id:1"), other("id:1")
		o.add(a)
		o.add(b)
		require.False(t, o.add(s))
		assert.Equal(t, []*turn{b}, o.took(a, nil))
		assert.Empty(t, o.took(b, nil))
		assert.Empty(t, o.done(b, nil))
		assert.Equal(t, []*turn{s}, o.done(a, nil))
	})
	t.Run("a chunk behind a status waits for its reply", func(t *testing.T) {
		var o order
		a, s, b, c := chunk("k"), other("k"), chunk("k"), chunk("k")
		o.add(a)
		o.add(s)
		require.False(t, o.add(b))
		require.False(t, o.add(c))
		assert.Empty(t, o.took(a, nil), "b must not pass s")
		assert.Equal(t, []*turn{s}, o.done(a, nil))
		assert.Equal(t, []*turn{b}, o.done(s, nil))
		assert.Equal(t, []*turn{c}, o.took(b, nil))
	})
	t.Run("keys do not wait for each other", func(t *testing.T) {
		var o order
		require.True(t, o.add(other("a")))
		require.True(t, o.add(other("b")))
		require.True(t, o.add(other()))
	})
	t.Run("two keys wait in both chains", func(t *testing.T) {
		var o order
		a, p, s := chunk("id:1", "path:x"), other("path:x"), other("id:1")
		o.add(a)
		require.False(t, o.add(p))
		require.False(t, o.add(s))
		assert.ElementsMatch(t, []*turn{p, s}, o.done(a, nil))
	})
	t.Run("the same key twice counts once", func(t *testing.T) {
		var o order
		a, b := other("k", "k"), other("k", "k")
		require.True(t, o.add(a))
		require.False(t, o.add(b))
		assert.Equal(t, []*turn{b}, o.done(a, nil))
		o.done(b, nil)
		assert.Empty(t, o.chains)
	})
}

func newTurn(chunk bool, keys []string) *turn {
	t := &turn{chunk: chunk}
	copy(t.keys[:], keys)
	return t
}

// Whatever happens in whatever order, nothing runs before its turn, nothing
// runs twice, and everything runs.
func TestOrderRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var o order
		var arrived, running []*turn
		state := map[*turn]int{} // 1 running, 2 done
		start := func(ts ...*turn) {
			for _, x := range ts {
				require.Zero(t, state[x], "ran twice")
				for _, b := range arrived {
					if b == x {
						break
					}
					if !share(b, x) || state[b] == 2 {
						continue
					}
					require.True(t, x.chunk && b.chunk && b.taken, "seed %d: ran before its turn", seed)
				}
				state[x] = 1
				running = append(running, x)
			}
		}
		for step := 0; step < 200 || len(running) > 0; step++ {
			switch {
			case step < 200 && rng.IntN(2) == 0:
				x := newTurn(rng.IntN(2) == 0, []string{"ab"[rng.IntN(2):][:1], []string{"", "c", "a"}[rng.IntN(3)]})
				ok := o.add(x)
				arrived = append(arrived, x)
				if ok {
					start(x)
				}
			case len(running) > 0:
				i := rng.IntN(len(running))
				x := running[i]
				if x.chunk && rng.IntN(2) == 0 {
					start(o.took(x, nil)...)
					continue
				}
				running = append(running[:i], running[i+1:]...)
				state[x] = 2
				start(o.done(x, nil)...)
			}
		}
		for _, x := range arrived {
			require.Equal(t, 2, state[x], "seed %d: never ran", seed)
		}
		require.Empty(t, o.chains)
	}
}

func share(a, b *turn) bool {
	for _, k := range a.keys {
		if k != "" && (k == b.keys[0] || k == b.keys[1]) {
			return true
		}
	}
	return false
}
