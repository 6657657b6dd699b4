package main

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// passiveHost is the address that clients of FTPS are told to open data
// connections to. PASV has room for IPv4 only.
type passiveHost struct{ ip netip.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *passiveHost) UnmarshalText(text []byte) error {
	ip, err := netip.ParseAddr(string(text))
	if err != nil || !ip.Unmap().Is4() || ip.IsUnspecified() {
		return errors.New(`not an IPv4 address such as "203.0.113.7"`)
	}
	h.ip = ip.Unmap()
	return nil
}

// String returns the address, "" if there is none.
func (h passiveHost) String() string {
	if !h.ip.IsValid() {
		return ""
	}
	return h.ip.String()
}

// portRange is a range of TCP ports, both ends included: 50000-50099. The zero
// value is any port.
type portRange struct{ lo, hi uint16 }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *portRange) UnmarshalText(text []byte) error {
	first, last, _ := strings.Cut(string(text), "-")
	lo, err := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || lo == 0 || hi < lo {
		return errors.New(`not a range of ports such as "50000-50099"`)
	}
	r.lo, r.hi = uint16(lo), uint16(hi)
	return nil
}

// config is r as daemon.Config has it.
func (r portRange) config() [2]int { return [2]int{int(r.lo), int(r.hi)} }
