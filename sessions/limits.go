package sessions

import "time"

const (
	// MaxGaps is the largest number of missing ranges one upload may have:
	// a chunk that would make more is refused (PROTOCOL.md §5).
	MaxGaps = 4096
	// MaxFactRanges is the largest number of ranges in one fact, so that a
	// record stays below the journal's line limit.
	MaxFactRanges = 1500
	// Remember is how long an ended upload can still be asked about.
	Remember = 24 * time.Hour
	// MaxRemembered bounds the ended uploads kept; the oldest go first.
	MaxRemembered = 100_000
)
