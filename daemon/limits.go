package daemon

import "time"

// Bounds that no configuration changes. What an operator or a test may want
// to change stands in Config.
const (
	// maxStrangers is how many unauthenticated connections there may be.
	maxStrangers = 64
	// maxStrangerMessage is their longest message.
	maxStrangerMessage = 64 << 10
	// maxWrongTokens closes a connection that tried that many.
	maxWrongTokens = 3

	// snapshotLook is how often the daemon looks whether a segment is full.
	snapshotLook = time.Second

	// maxDocWaiting is how many requests of one connection of the document library
	// wait for their turn, maxDocHeld how many bytes of them: then reading stops.
	maxDocWaiting = 64
	maxDocHeld    = 4 << 20
	// maxDocReplies closes such a connection that has more queued. Replies of any
	// size are made one at a time and do not count.
	maxDocReplies = 4 << 20

	// maxLegacyStrangers bounds the unauthenticated connections of the legacy
	// listener, maxLegacyEach those of one address.
	maxLegacyStrangers = 64
	maxLegacyEach      = 16
	// maxBadMessages closes a connection of the legacy listener at that many
	// messages that cannot be read.
	maxBadMessages = 10
	// legacyRead is how much of such a connection is read at a time.
	legacyRead = 16 << 10
	// legacyKeepAlive is the period of TCP keep-alives: there is no idle limit.
	legacyKeepAlive = 30 * time.Second
	// firstSentPause and mostSentPause are between two looks at whether the
	// kernel has sent what such a connection wrote.
	firstSentPause = 100 * time.Microsecond
	mostSentPause  = 10 * time.Millisecond
	// acceptPause is how long a listener waits after it could not accept.
	acceptPause = 100 * time.Millisecond

	// maxFTP bounds the control connections of FTPS, maxFTPTries the logins that one
	// may try. A command fits into maxFTPLine, which is below what the library
	// takes.
	maxFTP      = 256
	maxFTPTries = 3
	maxFTPLine  = 2 << 10
	// ftpLinger is how long a client whose kernel has all of a file may keep its
	// data connection before it counts as having it; ftpLingerStep is how often
	// that is looked at.
	ftpLinger     = time.Second
	ftpLingerStep = 20 * time.Millisecond

	// taskBuffer is what a transfer of a task over HTTP copies at a time.
	taskBuffer = 64 << 10
	// dataBuffer is the same for /upload and /tus, dataPiece how much of a file is
	// sent between two looks at it.
	dataBuffer = 256 << 10
	dataPiece  = 4 << 20
	// maxTold is how many missing ranges Upload-Missing tells.
	maxTold = 64
	// maxTusMetadata bounds what is kept of a tus client's metadata, in bytes.
	maxTusMetadata = 4 << 10
	// forgottenAfter is how long nobody may have asked about an empty upload for a
	// creation like its own to take its place. It is below the pauses after which
	// clients try again.
	forgottenAfter = time.Second / 2

	// bigMessage is what a message may hold before it needs one of bigSlots.
	bigMessage = 1<<20 + messageSlack
	bigSlots   = 4
	// maxInbound bounds the messages of one connection that are being read or
	// worked on; beyond, reading pauses.
	maxInbound = 32 << 20
	// maxInboundAll bounds them over all connections, but that each may
	// always have one.
	maxInboundAll = 256 << 20
	// copySmall is the longest chunk that is copied out of its buffer, so
	// that a small one does not hold a large buffer while it waits.
	copySmall = 16 << 10

	// replyRoom is what a connection may have queued when a large reply is
	// made for it.
	replyRoom = 1 << 20
	// contentBudget and listingBudget bound large replies, made and being
	// made, over all connections: 64 MiB. newcomerShare is what connections
	// may use of the latter that have not yet shown, by taking provenBytes,
	// that they read.
	contentBudget = 48 << 20
	listingBudget = 16 << 20
	newcomerShare = 12 << 20
	provenBytes   = 1 << 20
	// streamPiece is how much is read at a time for a reply that is made while
	// it is written: whole UTF-16 units and whole groups of base64.
	streamPiece = 48 << 10
	// maxSmallReplies closes a connection that has more small replies queued.
	maxSmallReplies = 4 << 20
	// maxStrangerReplies is the same for unauthenticated connections.
	maxStrangerReplies = 256 << 10
	// bigEcho is the longest id or echo whose reply counts as small.
	bigEcho = 64 << 10
	// maxLine bounds the replies of one connection that wait for an earlier
	// one's turn; beyond, reading pauses.
	maxLine = 1024

	// listingCost is what a listing is expected to take until it is made,
	// statusCost an upload's status with its missing ranges.
	listingCost = 1 << 20
	statusCost  = 32 << 10

	// smallBuffer is the class of reply buffers that are kept for reuse apart
	// from messages; messageBuffer is the smallest class of those.
	smallBuffer   = 4 << 10
	messageBuffer = 64 << 10
	// messageSlack is what a message may have around a chunk of a round size.
	messageSlack = 4 << 10
	// keptBuffers bounds the bytes of unused large buffers, keepBuffer for how
	// long they are kept.
	keptBuffers = 32 << 20
	keepBuffer  = 10 * time.Second

	// wheelTurn is into how many ticks PingEvery is cut.
	wheelTurn = 20
	// unsentKernel is how many bytes the kernel takes that it cannot send
	// yet: what a stalled peer costs it.
	unsentKernel = 128 << 10
	// lingerBytes is how much is read and dropped after a message that was
	// too big, so that its sender gets to see why it was closed.
	lingerBytes = 64 << 20

	// spareSockets is how many TCP connections the HTTP listener takes beyond what
	// Load lets through.
	spareSockets = 1024
	// comeAgain is for how many seconds somebody is asked to stay away who found a
	// limit of Load reached.
	comeAgain = "5"
	// refusedDrain is how long the body of a request is read on that was refused
	// unread, so that its sender gets to see why.
	refusedDrain = time.Second
	// paceStep is what a transfer may move before it is another one's turn, while
	// there is a bandwidth to keep to; pacePiece is how much of a file is then sent
	// at a time.
	paceStep  = 64 << 10
	pacePiece = 4 * paceStep
	// minSweep is how many subjects a pacer keeps in mind before it looks for some
	// to forget.
	minSweep = 256

	maxHeaderBytes    = 64 << 10
	readHeaderWithin  = 10 * time.Second
	idleHTTP          = 60 * time.Second
	maxSubtokenBody   = 64 << 10
	subtokenBodyTime  = 10 * time.Second
	defaultTokenLife  = 30
	maxTokenLife      = 31_536_000
	maxSubject        = 64
	urlLife           = time.Hour
	journalFlushBytes = 64 << 10

	// maxJournalScans is how many searches of the journal look through what there
	// is at one time; those that wait for what comes do not count.
	maxJournalScans = 4
	// maxFollowers is how many searches may wait for what comes, each with what it
	// has learned, and maxFollowersEach how many of one subject. maxTooWide is how
	// many are remembered that had learned too much.
	maxFollowers     = 16
	maxFollowersEach = 4
	maxTooWide       = 64
	// A search that finds little sends it after journalFlushEvery all the same;
	// it looks at the clock every journalLookEvery records.
	journalFlushEvery = 500 * time.Millisecond
	journalLookEvery  = 4096

	// checkpointEvery is how far checkpoints are apart, but for those at the end of
	// a segment. One that cannot be written is tried again after pushPause, which
	// doubles up to mostPushPause. A push that takes pushSlow counts as failing;
	// a stop waits pushAtStop for the last.
	checkpointEvery = time.Second
	pushPause       = time.Second
	mostPushPause   = time.Minute
	pushSlow        = 30 * time.Second
	pushAtStop      = 2 * time.Second

	// maxBundles is how many entry bundles are made and written at a time.
	maxBundles = 4
	// tileWidth is that of C2SP tlog-tiles.
	tileWidth = 256

	// retainEvery is how often old records are looked for, though no segment was
	// filled; that is seen within retainTick. A cut that failed is tried again
	// after that, then after twice as long, up to retainEvery. A stop waits
	// cutAtStop for one.
	retainEvery = time.Hour
	retainTick  = time.Minute
	cutAtStop   = 2 * time.Second

	// lookWithin is how long a start waits for a directory elsewhere, of the
	// archive or for checkpoints, to say whether it is there.
	lookWithin = 2 * time.Second

	// Logins that fail are recorded singly up to this rate and burst, beyond
	// only counted: strangers must not fill the disk.
	failedLoginEvery = 10 * time.Second
	failedLoginBurst = 60
)
