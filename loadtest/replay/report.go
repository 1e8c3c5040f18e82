package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A report is the result of a run, in the form in which it is written as JSON.
type report struct {
	OK        bool      `json:"ok"`
	Why       string    `json:"why,omitempty"` // when not OK
	Started   time.Time `json:"started"`
	Command   []string  `json:"command"`
	Recording string    `json:"recording"`
	Addresses []string  `json:"addresses"`
	Rooms     int       `json:"rooms"`
	Readers   int       `json:"readers_per_room"`
	Messages  int       `json:"messages"`

	Acknowledged int     `json:"acknowledged"`
	Delivered    int     `json:"delivered"` // to readers, each once
	Expected     int     `json:"expected"`  // acknowledged × readers
	Seconds      float64 `json:"seconds"`
	PerSecond    float64 `json:"acknowledged_per_second"`

	Found findings `json:"found"`

	Acknowledgement latency `json:"acknowledgement_ms"`    // first sent → acknowledged
	Delivery        latency `json:"publish_to_deliver_ms"` // first sent → delivered

	// Silence is the longest time without any acknowledgement: the outage as
	// speakers feel it.
	Silence   float64   `json:"longest_silence_seconds"`
	SilenceAt time.Time `json:"longest_silence_at"`

	Reconnects int            `json:"reader_reconnects"`
	Closings   map[string]int `json:"closings"` // close code, or "broken" → sessions
	Refusals   int            `json:"failed_handshakes"`
	Outages    []outage       `json:"outages"`
	Sockets    int            `json:"sockets_at_most"`
	Handshakes int            `json:"handshakes"`
	Run        spread         `json:"placement_run"` // every socket of the run
	End        spread         `json:"placement_end"` // sockets open at the end

	CPUs       int     `json:"cpus"`
	CPUSeconds float64 `json:"generator_cpu_seconds"`
}

// latency is a distribution, in milliseconds.
type latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// latencyOf sorts its argument.
func latencyOf(d []time.Duration) latency {
	if len(d) == 0 {
		return latency{}
	}
	slices.Sort(d)
	at := func(share float64) float64 {
		return float64(d[int(share*float64(len(d)-1))].Microseconds()) / 1000
	}
	return latency{Count: len(d), P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1)}
}

func (p *player) report(messages int, joined bool, spent time.Duration, run, end spread) *report {
	r := &report{
		Started:   p.began,
		Command:   os.Args,
		Recording: p.recording,
		Addresses: p.bases,
		Rooms:     len(p.ledgers),
		Readers:   p.options.readers,
		Messages:  messages,
		Seconds:   spent.Seconds(),
		Run:       run,
		End:       end,
		CPUs:      runtime.NumCPU(),
	}
	var acks, heard []time.Duration
	var lastAck time.Time
	for _, l := range p.ledgers {
		r.Found.add(l.close())
		acks = append(acks, l.acks...)
		heard = append(heard, l.heard...)
		if l.lastAck.After(lastAck) {
			lastAck = l.lastAck
		}
	}
	r.Acknowledged, r.Delivered, r.Expected = len(acks), len(heard), len(acks)*p.options.readers
	r.Found.Unanswered = messages - r.Acknowledged - r.Found.Refused // also what was never said
	if s := lastAck.Sub(p.began).Seconds(); s > 0 && r.Acknowledged > 0 {
		r.PerSecond = float64(r.Acknowledged) / s
	}
	r.Acknowledgement, r.Delivery = latencyOf(acks), latencyOf(heard)

	p.mu.Lock()
	failed := p.failed
	r.Silence, r.SilenceAt = p.silence.Seconds(), p.silent
	p.mu.Unlock()
	for _, err := range failed {
		r.Found.example("%v", err)
	}

	pl := p.places
	pl.mu.Lock()
	if pl.down > 0 { // the last outage did not end
		pl.outages = append(pl.outages, outage{pl.since, time.Since(pl.since).Seconds(), pl.hit})
	}
	r.Reconnects, r.Closings, r.Refusals, r.Outages = pl.returns, pl.closings, pl.refusals, pl.outages
	r.Sockets, r.Handshakes = pl.most, pl.opened
	pl.mu.Unlock()

	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		r.CPUSeconds = seconds(use.Utime) + seconds(use.Stime)
	}
	switch {
	case !joined:
		r.Why = fmt.Sprintf("not all readers could join; the last refusal: %v", p.places.refusal)
	case len(failed) > 0:
		r.Why = fmt.Sprintf("%d readers were sent away for good, or logs could not be read", len(failed))
	case r.Found.violations() > 0:
		r.Why = "violations"
	case r.Acknowledged == 0 || r.Delivered == 0:
		r.Why = "nothing was acknowledged and delivered: silence shows nothing"
	default:
		r.OK = true
	}
	return r
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

func (r *report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// String is the report for people.
func (r *report) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-22s %s\n", name, fmt.Sprintf(format, args...))
	}
	f := r.Found
	row("recording", "%s: %d rooms, %d messages, %d readers in each room", r.Recording, r.Rooms, r.Messages, r.Readers)
	row("through", "%s", strings.Join(r.Addresses, " "))
	row("acknowledged", "%d (%.0f per second)", r.Acknowledged, r.PerSecond)
	row("delivered", "%d of %d", r.Delivered, r.Expected)
	row("lost", "%d", f.Lost)
	row("doubled", "%d", f.Doubled)
	row("out of order", "%d", f.Disordered)
	row("undeclared holes", "%d", f.Holes)
	row("other violations", "%d diverged, %d out of the recording's order, %d altered, %d not in the log, %d refused, %d not answered",
		f.Diverged, f.Reordered, f.Altered, f.NotKept, f.Refused, f.Unanswered)
	row("declared", "%d gaps, %d resets; after a reset %d repeated, %d not in the log; %d messages of others", f.Gaps, f.Resets, f.Repeated, f.Trimmed, f.Foreign)
	row("publish → deliver", "%s", r.Delivery)
	row("acknowledgement", "%s", r.Acknowledgement)
	row("longest silence", "%.2f s without an acknowledgement, from %s", r.Silence, r.SilenceAt.Format("15:04:05.000"))
	row("duration", "%.1f s, of which this program worked %.1f s on %d CPUs", r.Seconds, r.CPUSeconds, r.CPUs)
	row("sockets", "%d at most, %d handshakes, %d failed", r.Sockets, r.Handshakes, r.Refusals)
	row("sessions ended", "%s", counted(r.Closings))
	row("readers came back", "%d times", r.Reconnects)
	for _, o := range r.Outages {
		row("", "%s: the last of %d was back after %.2f s", o.At.Format("15:04:05.000"), o.Readers, o.Seconds)
	}
	for _, s := range []struct {
		name   string
		spread spread
	}{{"rooms on shards", r.Run}, {"  at the end", r.End}} {
		row(s.name, "%s; %.1f to %.1f %% each", counted(s.spread.Rooms), 100*s.spread.MinShare, 100*s.spread.MaxShare)
		row("", "%d rooms on more than one; a room's main shard has %.1f %% of its sockets (least %.1f %%)",
			s.spread.Split, 100*s.spread.MainMean, 100*s.spread.MainMin)
	}
	for _, e := range f.Examples {
		row("  example", "%s", e)
	}
	if r.OK {
		row("result", "well")
	} else {
		row("result", "FAILED: %s", r.Why)
	}
	return b.String()
}

func (l latency) String() string {
	return fmt.Sprintf("p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms", l.P50, l.P90, l.P99, l.Max)
}

func counted(m map[string]int) string {
	if len(m) == 0 {
		return "none"
	}
	var parts []string
	for _, k := range sorted(m) {
		parts = append(parts, fmt.Sprintf("%s: %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
