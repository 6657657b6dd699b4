package main

import (
	"math/bits"
	"time"
)

// latencies counts durations in buckets that are at most 1.6 % wide, from a
// nanosecond to an hour, in 10 KiB. Not for concurrent use.
type latencies struct {
	buckets [latencyBuckets]uint32
	n       uint64
	max     time.Duration
}

const (
	latencyBits    = 6 // 64 buckets for each power of two
	latencyBuckets = (42 - latencyBits + 1) << latencyBits
)

func latencyBucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 1<<latencyBits {
		return int(v)
	}
	shift := bits.Len64(v) - latencyBits - 1
	return min(shift<<latencyBits+int(v>>shift), latencyBuckets-1)
}

// latencyTop is the longest duration that falls into bucket i.
func latencyTop(i int) time.Duration {
	if i < 2<<latencyBits {
		return time.Duration(i)
	}
	shift := i>>latencyBits - 1
	return time.Duration(uint64(i-shift<<latencyBits+1)<<shift - 1)
}

func (l *latencies) add(d time.Duration) {
	l.buckets[latencyBucket(d)]++
	l.n++
	l.max = max(l.max, d)
}

// merge adds what o has counted.
func (l *latencies) merge(o *latencies) {
	for i, n := range o.buckets {
		l.buckets[i] += n
	}
	l.n += o.n
	l.max = max(l.max, o.max)
}

// quantile is a duration that the share q of all does not exceed.
func (l *latencies) quantile(q float64) time.Duration {
	rank := uint64(q * float64(l.n))
	for i, n := range l.buckets {
		if rank < uint64(n) {
			return min(latencyTop(i), l.max)
		}
		rank -= uint64(n)
	}
	return l.max
}

// details are the figures that a row shows of them.
func (l *latencies) details() benchDetails {
	return benchDetails{
		{"p50_ms", ms(l.quantile(0.5))}, {"p99_ms", ms(l.quantile(0.99))},
		{"p99.9_ms", ms(l.quantile(0.999))}, {"max_ms", ms(l.max)},
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
