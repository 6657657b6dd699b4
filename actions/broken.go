//go:build brokensync

package actions

import "os"

// answerEarly breaks the promise that an answer leaves after its commit. This
// file is a control of the order test and part of no other build.
var answerEarly = os.Getenv("WAYBILL_BROKEN") == "reply"
