package main

import (
	"fmt"
	"reflect"

	"github.com/alecthomas/kong"
)

// cli is the whole command line. Its names are a contract (DESIGN.md §6):
// scripts and configuration files hold them.
type cli struct {
	Serve       serveCmd       `cmd:"" help:"Run the daemon."`
	Put         putCmd         `cmd:"" help:"Upload a file; run it again to go on where it stopped."`
	Get         getCmd         `cmd:"" help:"Download a file; run it again to go on where it stopped."`
	Ls          lsCmd          `cmd:"" help:"List a directory of the served tree."`
	Journal     journalCmds    `cmd:"" help:"Verify, export, replay or follow the journal."`
	Token       tokenCmds      `cmd:"" help:"Issue tokens."`
	User        userCmds       `cmd:"" help:"Make and change users of the document library."`
	Group       groupCmds      `cmd:"" help:"Make groups of users."`
	Policy      policyCmds     `cmd:"" help:"Read and set the policies of the document library."`
	Rules       rulesCmds      `cmd:"" help:"Read and set who may do what to documents and directories."`
	Bench       benchCmds      `cmd:"" help:"Measure what this machine makes of the daemon's parts."`
	Doctor      doctorCmd      `cmd:"" help:"Check what the daemon needs of this machine."`
	Healthcheck healthcheckCmd `cmd:"" help:"Exit 0 if the daemon is ready, 1 if not."`
	Completion  completionCmd  `cmd:"" help:"Print the shell code that turns on completion."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

type journalCmds struct {
	Verify verifyCmd `cmd:"" help:"Check every record; names the first bad one and exits 65."`
	Export exportCmd `cmd:"" help:"Print the records as JSON lines."`
	Replay replayCmd `cmd:"" help:"Print the state that the records lead to, as JSON."`
	Tail   tailCmd   `cmd:"" help:"Print the last records and those that follow."`
	Story  storyCmd  `cmd:"" help:"Tell all there is about one transfer, file or document."`
	Stats  statsCmd  `cmd:"" help:"Count what there is: records, bytes, transfers, refusals."`

	Prune pruneCmd `cmd:"" help:"Take old records out of the journal, into an archive that keeps them provable."`

	Key   journalKeyCmd `cmd:"" help:"Print the key that the journal's checkpoints are verified with, or make a new one."`
	Prove proveCmd      `cmd:"" help:"Write a proof that a record is in the journal, or that the journal has only grown."`
	Check checkCmd      `cmd:"" help:"Check such a proof, without a daemon."`
}

type benchCmds struct {
	Transfer benchTransferCmd `cmd:"" help:"Durable uploads on every path, each beside what the disk takes."`
	Download benchDownloadCmd `cmd:"" help:"Downloads on every path, each beside a plain HTTP server."`
	Files    benchFilesCmd    `cmd:"" help:"Small files, durable, over 8 connections."`
	Listing  benchListingCmd  `cmd:"" help:"The listing of a large directory."`
	Load     benchLoadCmd     `cmd:"" help:"What idle, stalled and busy connections do to a ping and to memory."`
	Restart  benchRestartCmd  `cmd:"" help:"Starts with many open uploads."`
	Journal  benchJournalCmd  `cmd:"" help:"Appends, replay, starts and disk space of the journal, each beside its calibration."`
	All      benchAllCmd      `cmd:"" help:"All of these; takes some minutes."`
}

type tokenCmds struct {
	Issue tokenIssueCmd `cmd:"" help:"Print a new token with fewer permissions than the main one."`
}

type userCmds struct {
	Create    userCreateCmd    `cmd:"" help:"Make a user."`
	Show      userShowCmd      `cmd:"" help:"Print what a user is and may do."`
	Passwd    userPasswdCmd    `cmd:"" help:"Set a user's password; whoever is logged in has to do so again."`
	Groups    userGroupsCmd    `cmd:"" help:"Set the groups a user is in, all of them."`
	Rights    userRightsCmd    `cmd:"" help:"Set a user's own rights, all of them."`
	Nickname  userNicknameCmd  `cmd:"" help:"Set a user's nickname."`
	Enable    userEnableCmd    `cmd:"" help:"Let a disabled user in again."`
	Disable   userDisableCmd   `cmd:"" help:"Lock a user out; its transfers end."`
	Delete    userDeleteCmd    `cmd:"" help:"Remove a user for good; its documents stay."`
	Publickey userPublickeyCmd `cmd:"" help:"Print or set a user's public key."`
	Avatar    userAvatarCmd    `cmd:"" help:"Set a user's picture."`
}

type groupCmds struct {
	Create groupCreateCmd `cmd:"" help:"Make a group."`
}

type policyCmds struct {
	Get policyGetCmd `cmd:"" help:"Print a policy as JSON."`
	Set policySetCmd `cmd:"" help:"Replace a policy."`
}

type rulesCmds struct {
	Get rulesGetCmd `cmd:"" help:"Print the rules of a document or directory as JSON."`
	Set rulesSetCmd `cmd:"" help:"Replace rules of a document or directory."`
}

// AfterApply holds the flags of the selected command to their min and max.
func (*cli) AfterApply(kctx *kong.Context) error {
	for _, flag := range kctx.Flags() {
		if err := inRange(flag, flag.Target); err != nil {
			return fmt.Errorf("--%s: %w", flag.Name, err)
		}
	}
	return nil
}

// inRange tests v against the min and max tags of flag, which are written
// like a value of the flag.
func inRange(flag *kong.Flag, v reflect.Value) error {
	if text := flag.Tag.Get("min"); text != "" {
		if least, err := decodeFlag(flag, text); err != nil || v.Int() < least.Int() {
			return fmt.Errorf("must be at least %s", text)
		}
	}
	if text := flag.Tag.Get("max"); text != "" {
		if most, err := decodeFlag(flag, text); err != nil || v.Int() > most.Int() {
			return fmt.Errorf("must be at most %s", text)
		}
	}
	return nil
}

// decodeFlag reads text as a value of flag, without setting the flag.
func decodeFlag(flag *kong.Flag, text string) (reflect.Value, error) {
	v := reflect.New(flag.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(text, kong.FlagValueToken)
	err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, v)
	return v, err
}
