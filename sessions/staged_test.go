package sessions

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counted is what Staged has to be, added up from the uploads there are.
func counted(t *Table) staged {
	sum := staged{by: make(map[holder]int64)}
	for _, u := range t.uploads {
		n := u.Size
		if n < 0 {
			n = u.Stored.Len()
		}
		sum.all += n
		if n != 0 {
			sum.by[holder{u.Owner, u.Task != nil}] += n
		}
	}
	return sum
}

// After every fact of random histories the bytes that live uploads hold are what
// they add up to, by owner and in all; a table restored from its image says the
// same.
func TestStagedIsExact(t *testing.T) {
	t.Parallel()
	owners := []string{"main", "ann", "bob"}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		b := newBook(t)
		var ids []ID
		for range 300 {
			b.at = b.at.Add(time.Second)
			id := NewID()
			if len(ids) > 0 {
				id = ids[rng.IntN(len(ids))]
			}
			owner := owners[rng.IntN(len(owners))]
			from := rng.Int64N(60)
			r := Range{from, from + 1 + rng.Int64N(60-from)}
			var f []Fact
			one := func(fact Fact, err error) {
				if err == nil {
					f = append(f, fact)
				}
			}
			switch rng.IntN(12) {
			case 0, 1:
				n := NewUpload{ID: NewID(), Path: "p", Size: rng.Int64N(61), Idle: time.Second}
				if rng.IntN(2) == 0 {
					n.Size = -1
				}
				if rng.IntN(3) == 0 {
					n.Size, n.Idle, n.Until = -1, 0, b.at.Add(time.Hour)
					n.Task = &Task{ID: n.ID.String(), Node: uint64(len(ids))}
				}
				ids = append(ids, n.ID)
				one(b.OpenUpload(n))
			case 2, 3, 4, 5:
				grown, gerr := b.Growth(id, []Range{r})
				before, _ := b.Staged("", false)
				fact, _, err := b.Store(&Stored{Session: id, Ranges: []Range{r}, Calls: 1})
				if err == nil {
					require.NoError(t, gerr)
					require.NoError(t, b.Apply(b.entry(fact, owner)))
					after, _ := b.Staged("", false)
					require.Equal(t, grown, after-before, "as it was foretold")
				}
			case 6:
				one(b.Unstore(id, []Range{r}))
			case 7:
				one(b.Truncate(id, from))
			case 8:
				one(b.Size(id, from))
			case 9:
				one(b.Seal(id, "aa"))
			case 10:
				if u, ok := b.Upload(id); ok && u.Task != nil {
					facts, err := b.FinishTask(id, u.Stored.End(), "bb")
					if err == nil {
						f = facts
					}
					break
				}
				one(b.Place(id))
			case 11:
				switch rng.IntN(4) {
				case 0:
					one(b.Cancel(id))
				case 1:
					one(b.Expire(id))
				case 2:
					one(b.Reject(id, "x", ""))
				case 3:
					one(b.Publish(id))
				}
			}
			for _, fact := range f {
				require.NoError(t, b.Apply(b.entry(fact, owner)))
			}
			require.Equal(t, counted(b.Table), b.staged)
		}
		restored, err := RestoreTable(b.Image())
		require.NoError(t, err)
		assert.Equal(t, b.staged, restored.staged)
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	sized, late := b.open(10), b.open(-1)
	b.store(late, Range{5, 10})
	n, err := b.Growth(late, []Range{{0, 6}, {8, 20}})
	require.NoError(t, err)
	assert.Equal(t, int64(5+10), n)
	n, err = b.Growth(sized, []Range{{0, 6}})
	require.NoError(t, err)
	assert.Zero(t, n, "its size is set aside")
	_, err = b.Growth(NewID(), nil)
	assert.ErrorIs(t, err, ErrUnknown)
	all, own := b.Staged("main", false)
	assert.Equal(t, int64(15), all)
	assert.Equal(t, int64(15), own)
	_, own = b.Staged("main", true)
	assert.Zero(t, own, "a user is no subject")
}
