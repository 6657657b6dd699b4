// Package journal is the append-only record of everything the daemon did.
//
// It stores records, one JSON line each, in the order in which one caller
// appends them, makes them durable before Append returns, and keeps a Merkle
// tree over them, so that the root of its Head stands for every byte of the
// history. It gives the lines back from any position, checks them while it
// does, and says which record is damaged. It does not know what a record
// means: bodies are opaque, and groups are looked at by Verify alone.
//
// # A record
//
// A record is one line with a fixed order of keys, no spaces, valid UTF-8 and
// no escape that is not needed:
//
//	{"v":1,"seq":42,"at":"2026-01-02T03:04:05.000006Z","kind":"upload.stored","actor":"main","via":"ws 127.0.0.1:51034","ref":"…","grp":[1,3],"body":{…}}
//
// "grp" is absent when the record belongs to no group; every other key is
// always there. Integers are below 2^53. A record that ParseEntry accepts is
// written back by AppendRecord as exactly the same bytes. The line without its
// newline is what is stored, what is hashed, and what an export contains.
//
// # The tree
//
// RFC 6962: a leaf is SHA-256(0x00 ‖ line), a node SHA-256(0x01 ‖ left ‖
// right), the empty tree SHA-256 of nothing; leaf n is the record with seq n.
//
// # On disk
//
// The directory holds bbolt files of 4,096-byte pages, one for every 65,536
// records, named seg-<seq of the first record, 16 digits>.db. Keys and numbers
// are big-endian, hashes 32 bytes.
//
//	bucket  key                      value
//	log     seq, 8 bytes             the line
//	tile    0x00, seq/256, 8 bytes   the 256 leaf hashes of a full tile
//	        0x01, seq/65536          the 256 roots of the segment's tiles
//	meta    "format"                 1 byte: 1
//	        "first"                  seq of the first record, 8 bytes
//	        "peaks"                  the roots of the full subtrees before
//	                                 first, the largest first
//	        "head"                   size, 8 bytes, and root: what is
//	                                 committed; the last written
//
// A tile stands in the transaction of the record that filled it, and the head
// in every one: what a crash leaves is some prefix of the committed
// transactions, whole. Because of peaks, opening needs the last segment alone.
//
// A segment is created as next-<first>.tmp, initialised and synced, then given
// its name by link(2), which never replaces a file, then the directory is
// synced: a file with a segment's name is always a whole segment. A crash
// leaves at most a temporary file, which the next Open removes, and an empty
// last segment, which is valid.
//
// Pruning unlinks the oldest segments. Before that the roots of all pruned ones,
// 32 bytes each, segment 0 first, are written to pruned-roots.tmp, synced, and
// renamed to pruned-roots, and the directory is synced; it is synced again
// after every unlinking. The file proves itself: its roots must add up to the
// peaks of the first segment held. When they do not, or there is no such file
// while the first segment does not begin at 0, that is damage, like a hole. A
// crash leaves roots of segments that are still there, which do no harm, and
// segments that the same Prune would unlink next, never a hole.
//
// Proofs and tiles (C2SP tlog-tiles) are served from what is stored: hashes
// below level 8 from the level-0 tiles, those up to level 15 from the level-1
// tiles, a segment's root from its level-1 tile or from pruned-roots, what is
// above from peaks and roots. What no full tile holds yet is in memory. So
// every record held can be proved, and only what lies within a pruned segment
// is gone. Signed checkpoints and snapshots lie outside of the directory.
//
// # Locks, damage, failure
//
// A writer holds an exclusive flock on the directory and on the last segment,
// a reader a shared one. Nothing is ever repaired: what does not fit is a
// *DamageError naming the record. bbolt trusts its pages and would loop or
// read outside of the file on a damaged one, so the pages of a segment are
// walked before bbolt sees them. Both of its meta pages must be valid, which
// assumes of the disk that a 512-byte sector is written whole or not at all:
// going back to the older one on the quiet would take back acknowledged
// records.
//
// The first failed Append is the last: bbolt may show what a failed sync did
// not make durable, so nothing is retried in the same process and the head
// stays where the last good commit put it.
package journal
