package main

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// benchDetail is one further figure of a row.
type benchDetail struct {
	name  string
	value float64
}

// benchDetails keep their order, as people read them.
type benchDetails []benchDetail

// MarshalJSON renders them as one object.
func (d benchDetails) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, x := range d {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, x.name) // plain ASCII, all of them
		b = strconv.AppendFloat(append(b, ':'), x.value, 'g', -1, 64)
	}
	return append(b, '}'), nil
}

// benchOutput prints the rows of a run: a table whose rows come as they are
// measured, or one JSON object at the end.
type benchOutput struct {
	app  *app
	json bool
	// live is set while somebody watches: then the row in work is shown.
	live   bool
	report benchReport
}

// benchReport is the JSON form of a run.
type benchReport struct {
	Bench   string    `json:"bench"`
	Version string    `json:"version"`
	Go      string    `json:"go"`
	At      time.Time `json:"at"`
	Cores   int       `json:"cores"`
	// Load is the machine's load average of the minute before: others at work
	// make every figure smaller.
	Load    float64     `json:"load_average"`
	Machine string      `json:"machine"`
	On      benchPlace  `json:"file_system"`
	Rows    []*benchRow `json:"rows"`
}

func newBenchOutput(a *app, asJSON bool, name string, on benchPlace) benchOutput {
	var u unix.Utsname
	machine := runtime.GOARCH
	if unix.Uname(&u) == nil {
		machine = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + runtime.GOARCH
	}
	return benchOutput{app: a, json: asJSON, live: isTerminal(a.stderr), report: benchReport{
		Bench: name, Version: version(), Go: runtime.Version(), At: time.Now().UTC().Truncate(time.Second),
		Cores: runtime.GOMAXPROCS(0), Load: loadAverage(), Machine: machine, On: on, Rows: []*benchRow{},
	}}
}

// loadAverage is 0 if it is not known.
func loadAverage() float64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return math.Round(float64(info.Loads[0])/(1<<16)*100) / 100
}

// The columns, so wide that the rows there are fit in.
const benchColumns = "%-34s %12s %-10s %-28s %7s  %-36s %s\n"

func (o *benchOutput) begin() error {
	if o.json {
		return nil
	}
	r := &o.report
	return o.print("waybill %s, %s, %s, %d cores, load %.1f\n%v\n\n"+benchColumns, r.Version, r.Go, r.Machine, r.Cores, r.Load, r.On,
		"row", "value", "", "calibration", "ratio", "wanted", "")
}

// working shows the row that is being measured, on a terminal.
func (o *benchOutput) working(name string) {
	if o.live {
		fmt.Fprintf(o.app.stderr, "\r\x1b[K%s …", name)
	}
}

func (o *benchOutput) clear() {
	if o.live {
		fmt.Fprint(o.app.stderr, "\r\x1b[K")
	}
}

func (o *benchOutput) row(r *benchRow) error {
	o.clear()
	o.report.Rows = append(o.report.Rows, r)
	if o.json {
		return nil
	}
	cal, ratio, wanted := "", "", ""
	if c := r.Calibration; c != nil {
		cal = fmt.Sprintf("%s %s %s", c.Name, figure(c.Value), c.Unit)
	}
	if r.Ratio != 0 {
		ratio = fmt.Sprintf("%.2f", r.Ratio)
	}
	if r.Reached != nil {
		wanted = map[bool]string{true: "yes", false: "NO "}[*r.Reached] + "  " + r.Wanted
	}
	return o.print(benchColumns, r.Name, figure(r.Value), r.Unit, cal, ratio, wanted, r.Details)
}

// String renders the details for people: p50 0.61 ms, max 3.2 ms.
func (d benchDetails) String() string {
	var b strings.Builder
	for i, x := range d {
		if i > 0 {
			b.WriteString(", ")
		}
		name, unit := x.name, ""
		if at := strings.LastIndexByte(name, '_'); at >= 0 {
			name, unit = strings.ReplaceAll(name[:at], "_", " "), " "+name[at+1:]
		}
		b.WriteString(name + " " + figure(x.value) + unit)
	}
	return b.String()
}

func (o *benchOutput) end() error {
	o.clear()
	if o.json {
		return o.app.printJSON(&o.report)
	}
	return nil
}

func (o *benchOutput) print(format string, args ...any) error {
	var b strings.Builder
	fmt.Fprintf(&b, format, args...)
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if _, err := fmt.Fprint(o.app.stdout, strings.Join(lines, "\n")); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}

// figure renders a number with three digits that count, or all of a whole one.
func figure(v float64) string {
	switch {
	case v == 0 || math.Abs(v) >= 1000:
		return thousands(fmt.Sprintf("%.0f", v))
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// thousands puts commas into a whole number.
func thousands(digits string) string {
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
