package sessions

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowStored is scanStored by encoding/json alone.
func slowStored(body []byte) (s Stored, crc string, err error) {
	var b struct {
		Session ID      `json:"session"`
		Ranges  []Range `json:"ranges"`
		CRC32C  string  `json:"crc32c"`
		Calls   int64   `json:"calls"`
	}
	err = json.Unmarshal(body, &b)
	return Stored{Session: b.Session, Ranges: b.Ranges, Calls: b.Calls}, b.CRC32C, err
}

// What the hand-written scan takes, encoding/json reads the same; and what
// either refuses changes nothing that is kept.
func FuzzScanStored(f *testing.F) {
	id := NewID()
	s := Stored{Session: id, Ranges: []Range{{0, 1}, {5, 9007199254740991}}, CRC32C: 0xdeadbeef, Calls: 3}
	body := string(s.fact().Body)
	for _, seed := range []string{
		body,
		string(rangesFact(KindUploadUnstored, id, s.Ranges).Body),
		string(rangesFact(KindDownloadRead, id, nil).Body),
		body[:60] + "]" + body[60:],
		`{"session":"` + id.String() + `","ranges":[[0,1][2,3]],"crc32c":"00000000","calls":1}`,
		`{"session":"` + id.String() + `","ranges":[[00,1]],"crc32c":"00000000","calls":1}`,
		`{"session":"` + id.String() + `","ranges":[[0,99999999999999999999]],"crc32c":"00000000","calls":01}`,
		`{"calls":2,"crc32c":"0000002a","ranges":[[1,2]],"session":"` + id.String() + `"}`,
		`{"session":"` + id.String() + `","ranges":null,"crc32c":"0000002a","calls":1}`,
		`{"session":"\u0030","ranges":[]}`,
		`{}`, ``, `[`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, stored bool) {
		var got Stored
		if !scanStoredFast(body, stored, &got) {
			return
		}
		want, crc, err := slowStored(body)
		require.NoError(t, err, "%s", body)
		assert.Equal(t, want.Session, got.Session)
		assert.True(t, slices.Equal(want.Ranges, got.Ranges), "%v %v", want.Ranges, got.Ranges)
		if stored {
			sum, err := strconv.ParseUint(crc, 16, 32)
			require.NoError(t, err)
			assert.Equal(t, uint32(sum), got.CRC32C)
			assert.Equal(t, want.Calls, got.Calls)
		}
	})
}

func TestScanStoredTakesTheFastPath(t *testing.T) {
	// Every range count, so that the bounds of a fact are among them.
	for _, n := range []int{0, 1, 2, MaxFactRanges} {
		s := Stored{Session: NewID(), CRC32C: uint32(n) * 0x01020304, Calls: int64(n)}
		for i := range int64(n) {
			s.Ranges = append(s.Ranges, Range{i * 1_431_655, i*1_431_655 + 7})
		}
		var got Stored
		require.True(t, scanStoredFast(s.fact().Body, true, &got))
		assert.Equal(t, s, got)
		got = Stored{}
		require.True(t, scanStoredFast(rangesFact(KindUploadUnstored, s.Session, s.Ranges).Body, false, &got))
		assert.Equal(t, s.Ranges, got.Ranges)
	}
}

func TestScanStoredOtherSpellings(t *testing.T) {
	id := NewID()
	var got Stored
	require.NoError(t, scanStored([]byte(`{"calls":2,"crc32c":"0000002a","ranges":[[1,2]],"session":"`+id.String()+`"}`), true, &got))
	assert.Equal(t, Stored{Session: id, Ranges: []Range{{1, 2}}, CRC32C: 42, Calls: 2}, got)
	assert.Error(t, scanStored([]byte(`{"session":"`+id.String()+`","ranges":[[0,1][2,3]],"crc32c":"00000000","calls":1}`), true, &got))
	assert.Error(t, scanStored([]byte(`{"session":"`+id.String()+`","ranges":[[0,1]],"crc32c":"x","calls":1}`), true, &got))
	assert.Error(t, scanStored([]byte(`{"session":"x","ranges":[[0,1]]}`), false, &got))
}

// The longest fact about ranges stays well below the journal's line limit.
func TestLongestRangesFit(t *testing.T) {
	s := Stored{Session: NewID(), CRC32C: 0xffffffff, Calls: 1 << 52}
	for range MaxFactRanges {
		s.Ranges = append(s.Ranges, Range{1<<31 - 2, 1<<31 - 1})
	}
	assert.Less(t, len(s.fact().Body), 50_000)
}

func BenchmarkScanStored(b *testing.B) {
	s := Stored{Session: NewID(), Ranges: []Range{{1 << 20, 9 << 20}}, CRC32C: 0xdeadbeef, Calls: 8}
	body := s.fact().Body
	var into Stored
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := scanStored(body, true, &into); err != nil {
			b.Fatal(err)
		}
	}
}
