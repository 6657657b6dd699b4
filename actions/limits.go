package actions

import "time"

const (
	// drains is how often the core looks for more decisions before a commit.
	drains = 4
	// sessionWindow bounds the bytes of one upload that are written but not
	// yet synced; a single larger chunk may exceed it alone.
	sessionWindow = 16 << 20
	// totalWindow bounds them over all uploads.
	totalWindow = 64 << 20
	// streamPiece is how much of a body is written under one lock.
	streamPiece = 256 << 10
	// syncAfter is how much of a body is written before a sync of its own: little,
	// because a disk does most of its work only then, and while the rest comes.
	syncAfter = 2 << 20
	// recordAfter is how much of a body is synced before a record of its own.
	recordAfter = sessionWindow / 2
	// taskFlush is how much of a task is written before it is made durable.
	taskFlush = 8 << 20
	// maxMissing is how many missing ranges a status lists.
	maxMissing = 1024
	// placeRetry is how long a sealed upload that could not be placed waits.
	placeRetry = 10 * time.Second
	// fileLinger is how long a staged file without work stays open.
	fileLinger = 10 * time.Second
	// maxLingering is how many live uploads there may be that linger so: with more,
	// a file without work is closed at the reaper's next look. Opening uploads is
	// cheap, and must not use up the descriptors of the process.
	maxLingering = 256
	// hashPiece is how much is read at a time for digests and checksums.
	hashPiece = 256 << 10
	// maxHashed bounds the digests remembered for downloads.
	maxHashed = 10_000
	// hashQuiet is how long a file must have been unmodified before hashing
	// for its digest to be remembered: a change within the clock's grain
	// would not show in its identity.
	hashQuiet = 2 * time.Second
	// maxParamString is the longest string of an action.* record's params;
	// longer ones become their digest and length.
	maxParamString = 1 << 10
	// maxQueued bounds the jobs that have not ended.
	maxQueued = 10_000
	// maxRunning bounds the jobs that run at one time.
	maxRunning = 16
	// maxJobParams bounds a queued action's parameters, maxJobResult the
	// result that is kept, both well below the journal's line limit.
	maxJobParams = 40_000
	maxJobResult = 40_000
	// jobRemember and maxJobsRemembered bound the ended jobs that can be asked
	// about.
	jobRemember       = 24 * time.Hour
	maxJobsRemembered = 10_000
	// backoffFirst doubles with each void claim up to backoffMost.
	backoffFirst = time.Second
	backoffMost  = time.Minute
	// reapEvery is the reaper's period, readFactEvery the shortest time
	// between two download.read facts of a session.
	reapEvery     = time.Second
	readFactEvery = time.Second
	// failGrace is how long work under way may take to end once the journal
	// has failed.
	failGrace = 3 * time.Second
	// refusedEvery is the period of traffic.refused, refusedPeers how many
	// addresses one names, maxPeers how many are counted between two.
	refusedEvery = time.Minute
	refusedPeers = 20
	maxPeers     = 10_000
	// taskLife is how long a file task can be used (CFMS.md §4.3), and
	// maxOpenTasks how many a user may have open.
	taskLife     = time.Hour
	maxOpenTasks = 1024
	// taskPiece is how much of a transfer is written under one lock.
	taskPiece = 256 << 10
	// taskFlushAfter is how long bytes of a stalled transfer may stay volatile,
	// and keep room from others.
	taskFlushAfter = time.Second
	// maxArgon bounds the passwords that are hashed at one time, 19 MiB each.
	maxArgon = 4
	// refreshLeeway is for how many seconds after its end a token can still be
	// exchanged.
	refreshLeeway = 60
	// maxClaimedName is how many bytes of a name nobody has proven are kept: as
	// many as the longest name of a user can have.
	maxClaimedName = 4 * 32
	// Refusals that cost a stranger nothing are recorded singly up to this rate
	// and burst, beyond only counted.
	unprovenEvery = 10 * time.Second
	unprovenBurst = 60
	// maxGuarded bounds the accounts and the addresses whose failed logins are
	// counted; addressMemory is after how long without one an address begins
	// anew, accountMemory an account at an address.
	maxGuarded    = 10_000
	guardSweep    = time.Minute
	addressMemory = 600 * time.Second
	accountMemory = 24 * time.Hour
	// purgeBatch is how much is due that one look at the tree may name.
	purgeBatch = 1000
	// reapBatch is how many tasks one turn of the reaper ends at most.
	reapBatch = 1000
	// UploadMax is the largest upload there can be (seed-003: 2^31-1 bytes).
	UploadMax = 1<<31 - 1
	// DownloadSpan is the longest range of one download chunk.
	DownloadSpan = 8 << 20
)
