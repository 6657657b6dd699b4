package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a number of bytes, written as a whole number with or without a
// unit: 512, 64KiB, 16MiB, 2GiB, 10MB.
type byteSize int64

var errByteSize = errors.New(`not a size such as "512", "64KiB" or "16MiB"`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	s := string(text)
	digits := strings.TrimRight(s, "BKMGTiIbkmgt ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return errByteSize
	}
	var unit int64
	switch strings.ToLower(strings.TrimSpace(s[len(digits):])) {
	case "", "b":
		unit = 1
	case "kib":
		unit = 1 << 10
	case "mib":
		unit = 1 << 20
	case "gib":
		unit = 1 << 30
	case "tib":
		unit = 1 << 40
	case "kb":
		unit = 1e3
	case "mb":
		unit = 1e6
	case "gb":
		unit = 1e9
	case "tb":
		unit = 1e12
	default:
		return errByteSize
	}
	if n > math.MaxInt64/unit {
		return errByteSize
	}
	*b = byteSize(n * unit)
	return nil
}

// String renders b for people, with one decimal from KiB on.
func (b byteSize) String() string {
	const units = "KMGTPE"
	if b < 1<<10 {
		return fmt.Sprintf("%d B", int64(b))
	}
	v, i := float64(b)/(1<<10), 0
	for v >= 1<<10 && i < len(units)-1 {
		v, i = v/(1<<10), i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// reserveSize is a byteSize or "auto", which is negative: the larger of
// 512 MiB and 1 % of the file system.
type reserveSize int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *reserveSize) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*r = -1
		return nil
	}
	return (*byteSize)(r).UnmarshalText(text)
}

// config is r as daemon.Config has it: 0 for auto, negative for none.
func (r reserveSize) config() int64 {
	if r < 0 {
		return 0
	}
	return orNone(int64(r))
}
