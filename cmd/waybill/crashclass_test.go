package main

import (
	"path/filepath"
	"slices"
	"strings"
)

// The places in the program that make something durable, as a trace tells them
// apart: by what is synced, how, and what there was to be made durable.
const (
	syncJournalData    = "journal: pages of a commit"
	syncJournalMeta    = "journal: meta of a commit"
	syncJournalGrow    = "journal: length of a segment"
	syncSegmentNew     = "journal: segment without its name"
	syncJournalDir     = "journal: name of a segment"
	syncStateFile      = "STATE: key, secret or id"
	syncStateDir       = "STATE: name of a key, secret or id"
	syncStateJournal   = "STATE: name of the journal"
	syncStateObjects   = "STATE: name of the store of contents"
	syncCheckpoint     = "STATE: checkpoint"
	syncCheckpointName = "STATE: name of a checkpoint"
	syncUnverified     = "STATE: name of a checkpoint that is no good"
	syncSnapshot       = "STATE: snapshot"
	syncSnapshotName   = "STATE: name of a snapshot"
	syncBase           = "STATE: base"
	syncBaseName       = "STATE: name of a base"
	syncRoots          = "journal: roots of what is pruned"
	syncRootsName      = "journal: name of the roots"
	syncSegmentGone    = "journal: removal of a segment"
	syncArchive        = "archive: part of a segment"
	syncArchiveName    = "archive: names of tile and checkpoint"
	syncArchiveLines   = "archive: name of the lines"
	syncStoredGone     = "STATE: removal of snapshots and bases"
	syncAbove          = "names of STATE and ROOT"
	syncStagedData     = "store: staged bytes"
	syncStagedCut      = "store: cut of a staged file"
	syncStagingDir     = "store: name of a staged file"
	syncStoreDir       = "store: names of its own directories"
	syncOrphansDir     = "store: name of an orphan"
	syncParentDir      = "store: name of a new parent"
	syncCopy           = "store: copy beside a target on another file system"
	syncTargetDir      = "store: name of a placed file"
	syncContentGone    = "store: removal of a content"
	syncUnclassified   = "unclassified"
)

// syncClass tells which of these places a sync of i is called at.
func (m *model) syncClass(i *inode, call string) string {
	dir, name := filepath.Split(i.path)
	parent := filepath.Base(dir)
	switch {
	case i.dir:
		return m.dirClass(i, name, parent)
	case parent == "journal" && strings.HasPrefix(name, "next-"):
		return syncSegmentNew
	case parent == "journal" && strings.HasPrefix(name, "seg-"):
		switch {
		case call == "fsync":
			return syncJournalGrow
		case i.dataWritten:
			return syncJournalData
		}
		return syncJournalMeta
	case parent == "state" && strings.HasPrefix(name, ".checkpoint"):
		return syncCheckpoint
	case parent == "journal" && strings.HasPrefix(name, "pruned-roots"):
		return syncRoots
	case parent == archiveAt:
		return syncArchive
	case parent == "state" && strings.HasPrefix(name, ".base-"):
		return syncBase
	case parent == "state" && strings.HasPrefix(name, ".snapshot-"):
		return syncSnapshot
	case parent == "state" && strings.HasPrefix(name, "."):
		return syncStateFile
	case strings.HasPrefix(name, ".waybill-"):
		return syncCopy
	case parent == "staging" && slices.ContainsFunc(i.ops, func(o *fileOp) bool { return o.cut }):
		return syncStagedCut
	case parent == "staging":
		return syncStagedData
	}
	return syncUnclassified
}

func (m *model) dirClass(d *inode, name, parent string) string {
	// What there is to be made durable tells some apart.
	of := func(is func(*dirOp) bool) bool {
		return slices.ContainsFunc(m.pending, func(o *dirOp) bool { return o.dir == d && !o.passed && is(o) })
	}
	switch d.path {
	case "", filepath.Dir(stateAt), filepath.Dir(rootAt):
		return syncAbove
	case stateAt:
		switch {
		case of(func(o *dirOp) bool { return o.name == "journal" }):
			return syncStateJournal
		case of(func(o *dirOp) bool { return o.name == "objects" }):
			return syncStateObjects
		case of(func(o *dirOp) bool { return o.to != nil && o.name == unverified }):
			return syncUnverified
		case of(func(o *dirOp) bool { return o.to != nil && o.name == "checkpoint" }):
			return syncCheckpointName
		case of(func(o *dirOp) bool { return o.to != nil && strings.HasPrefix(o.name, "base-") }):
			return syncBaseName
		case of(func(o *dirOp) bool { return o.to != nil && strings.HasPrefix(o.name, "snapshot-") }):
			return syncSnapshotName
		case of(func(o *dirOp) bool { return o.to == nil && strings.HasSuffix(o.name, ".json") }):
			return syncStoredGone
		}
		return syncStateDir
	case filepath.Join(stateAt, "journal"):
		switch {
		case of(func(o *dirOp) bool { return o.to != nil && strings.HasPrefix(o.name, "seg-") }):
			return syncJournalDir
		case of(func(o *dirOp) bool { return o.to != nil && o.name == "pruned-roots" }):
			return syncRootsName
		}
		return syncSegmentGone
	case archiveAt:
		if of(func(o *dirOp) bool { return o.to != nil && strings.HasSuffix(o.name, ".zst") }) {
			return syncArchiveLines
		}
		return syncArchiveName
	}
	switch {
	case name == "staging":
		return syncStagingDir
	case name == "orphans":
		return syncOrphansDir
	case name == ".waybill", parent == ".waybill":
		return syncStoreDir
	}
	switch { // of what is served, or contents
	case of(func(o *dirOp) bool { return o.name == ".waybill" }):
		return syncStoreDir
	case of(func(o *dirOp) bool { return o.twin != nil && !o.second }):
		return syncTargetDir
	case of(func(o *dirOp) bool { return o.to != nil && o.to.dir }):
		return syncParentDir
	case of(func(o *dirOp) bool { return o.to == nil }):
		return syncContentGone
	}
	return syncUnclassified
}
