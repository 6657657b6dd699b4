package doctree

// The bounds of documents and directories (CFMS.md §7.4), in code points
// where they count text.
const (
	// MaxID is the longest id of a file or directory.
	MaxID = 64
	// MaxName is the longest name of a file or directory.
	MaxName = 255
	// MaxDepth is how many directories may lie one in another; files do not
	// count.
	MaxDepth = 128
	// MaxRevisionRange is how many revisions one request may ask for (§4.7).
	MaxRevisionRange = 50
	// MaxAccess is the largest access_rules and the largest external_access, in
	// bytes as they are stored (§5.6).
	MaxAccess = 32 << 10
	// MaxPolicy is the largest content of a policy, in bytes as it is stored: a
	// record line holds it.
	MaxPolicy = 48 << 10
	// MaxFactNodes is the largest number of nodes in one fact, so that a record
	// stays below the journal's line limit.
	MaxFactNodes = 500
	// MaxLoginDelay is the longest delay of a refused login that a policy can
	// ask for, in seconds: clients give up at 10 (§3.1).
	MaxLoginDelay = 8
)

const (
	// maxInteger is the largest integer that a record may hold.
	maxInteger = 1<<53 - 1
	// maxNesting bounds objects and arrays in what setAccess and setPolicy
	// store; the shapes of §6.2 need 9.
	maxNesting = 32
)
