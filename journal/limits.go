package journal

import "time"

// The bounds of the journal. They are part of the format: a store that breaks
// one of them is damaged, and Append refuses what would break one.
const (
	// SegmentRecords is the number of records of a full segment: exactly one
	// full level-1 tile of the Merkle tree.
	SegmentRecords = 65536
	// MaxLine is the length of the longest record line in bytes, without its
	// newline.
	MaxLine = 60000
	// MaxGroup is the largest n of a group.
	MaxGroup = 100000
	// MaxBatchRecords and MaxBatchBytes are what a caller should put into one
	// Append at most; Append itself takes more.
	MaxBatchRecords = 4096
	MaxBatchBytes   = 8 << 20
	// MaxCheckpoint is the length of the longest signed checkpoint that is read,
	// in bytes, MaxProof that of a proof.
	MaxCheckpoint = 64 << 10
	MaxProof      = 256 << 10
)

const (
	tileWidth = 256 // hashes of a full tile
	tileLevel = 8   // log2(tileWidth)
	// segmentLevel is the level of a segment's root: log2(SegmentRecords).
	segmentLevel = 2 * tileLevel
	maxSeq       = 1 << 53 // first integer that JSON readers may round
	maxKind      = 64      // bytes of a kind
	maxDepth     = 64      // objects and arrays around a value of a body

	// maxProofHashes is how many a tree of 2^63 leaves would take.
	maxProofHashes = 63

	// chunkRecords and chunkBytes bound what a reader copies out of a
	// transaction at a time; one line is always taken.
	chunkRecords = 1024
	chunkBytes   = 1 << 20
	// chunksAhead is how many chunks Replay and Verify keep in memory.
	chunksAhead = 6
	// readAheadStep is what every kernel reads for one WILLNEED at least.
	readAheadStep = 128 << 10
	// archiveWindow is how far back an archived segment refers, which is all of
	// what the level in use can make something of; a longer window than
	// mostArchiveWindow is not read: it is the reader's memory.
	archiveWindow     = 8 << 20
	mostArchiveWindow = 32 << 20
	// sealedOpen is how many sealed segments stay open when nobody reads them.
	sealedOpen = 4
	// prepareAt is the number of records in the last segment from which its
	// successor is prepared.
	prepareAt = SegmentRecords / 2

	pageSize    = 4096
	maxPageTree = 32 // levels of a bbolt tree
	// initialMmap maps a full segment of records up to about 900 bytes, so
	// that growing needs no remapping, which would wait for readers. It is
	// address space, not memory.
	initialMmap = 64 << 20
	lockTimeout = time.Second
	lockRetry   = 20 * time.Millisecond
)
