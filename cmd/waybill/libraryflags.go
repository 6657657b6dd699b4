package main

import (
	"errors"
	"io/fs"
	"time"

	"waybill/daemon"
)

// libraryFlags are the flags of serve that concern the document library. Two of
// its four transports, WebSocket and HTTP, are on wherever the daemon listens.
type libraryFlags struct {
	CFMSListen            string        `name:"cfms-listen" group:"library" placeholder:"ADDR" help:"Address of the legacy encrypted listener, customarily :5103; weak, for older clients only (off)."`
	CFMSKeyExchange       string        `name:"cfms-key-exchange" group:"library" default:"rsa" enum:"rsa,x25519" placeholder:"METHOD" help:"rsa or x25519: what the clients of that listener know (${default})."`
	CFMSMaxConnections    int           `name:"cfms-max-connections" group:"library" default:"256" min:"1" max:"65536" placeholder:"N" help:"Connections of that listener (${default})."`
	CFMSTimestampWindow   time.Duration `name:"cfms-timestamp-window" group:"library" default:"300s" min:"0s" placeholder:"TIME" help:"By how much X-Ca-Timestamp of a request may be off; 0 is not looked at (${default})."`
	CFMSHideNoAccess      bool          `name:"cfms-hide-no-access" group:"library" default:"true" help:"Leave out of listings what the asker may not read; =false shows it (${default})."`
	CFMSRotateTokenSecret bool          `name:"cfms-rotate-token-secret" group:"library" help:"Make a new token secret: nobody stays logged in."`

	FTPListen       string      `name:"ftp-listen" group:"library" placeholder:"ADDR" help:"Address of the FTPS listener, customarily :5104 (off)."`
	FTPCert         string      `name:"ftp-cert" group:"library" and:"ftp-cert" placeholder:"FILE" help:"Its certificate in PEM; without one, it is made at the first start."`
	FTPKey          string      `name:"ftp-key" group:"library" and:"ftp-cert" placeholder:"FILE" help:"The key of the certificate, in PEM."`
	FTPPassiveHost  passiveHost `name:"ftp-passive-host" group:"library" placeholder:"IP" help:"IPv4 address that clients are told for data connections, for a daemon behind NAT."`
	FTPPassivePorts portRange   `name:"ftp-passive-ports" group:"library" placeholder:"LO-HI" help:"Ports of data connections (any)."`

	AdminPassword     *string       `group:"library" xor:"admin-password" placeholder:"TEXT" help:"Set the password of admin, who becomes an enabled sysop again. Other users of the machine can see it here."`
	AdminPasswordFile string        `group:"library" xor:"admin-password" placeholder:"FILE" help:"The same, with the password in a file."`
	SampleData        bool          `group:"library" help:"Put a directory and a file into an empty library."`
	PurgeInterval     time.Duration `group:"library" default:"10m" min:"0s" placeholder:"TIME" help:"How often the recycle bin is purged; 0 is never (${default})."`
	ShutdownGrace     time.Duration `group:"library" default:"3s" min:"0s" max:"6s" placeholder:"TIME" help:"How long running transfers may go on once the daemon is to stop (${default})."`
}

// config puts the flags into cfg. It reads the password file.
func (c *libraryFlags) config(cfg *daemon.Config) error {
	password, err := c.adminPassword()
	if err != nil {
		return err
	}
	cfg.AdminPassword = password
	cfg.CFMSListen, cfg.CFMSKeyExchange, cfg.CFMSMaxConns = c.CFMSListen, c.CFMSKeyExchange, c.CFMSMaxConnections
	cfg.TimestampWindow = orNone(c.CFMSTimestampWindow)
	cfg.ShowNoAccess = !c.CFMSHideNoAccess
	cfg.RotateTokenSecret = c.CFMSRotateTokenSecret
	cfg.FTPListen, cfg.FTPCert, cfg.FTPKey = c.FTPListen, c.FTPCert, c.FTPKey
	cfg.FTPPassiveHost, cfg.FTPPassivePorts = c.FTPPassiveHost.String(), c.FTPPassivePorts.config()
	cfg.SampleData = c.SampleData
	cfg.PurgeEvery, cfg.ShutdownGrace = orNone(c.PurgeInterval), orNone(c.ShutdownGrace)
	return nil
}

// adminPassword is what admin's password is to be, "" to leave it alone.
func (c *libraryFlags) adminPassword() (string, error) {
	if c.AdminPassword != nil {
		return *c.AdminPassword, usablePassword("--admin-password", *c.AdminPassword)
	}
	if c.AdminPasswordFile == "" {
		return "", nil
	}
	password, err := readPassword("--admin-password-file", c.AdminPasswordFile)
	if errors.Is(err, fs.ErrNotExist) {
		// What a daemon is told to use and does not find is wrong configuration,
		// as a missing --config is.
		return "", &exitError{exitConfig, err}
	}
	return password, err
}
