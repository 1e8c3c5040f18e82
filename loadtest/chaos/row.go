package main

import (
	"fmt"
	"time"
)

// A row is what one fault has shown.
type row struct {
	Fault   string `json:"fault"`
	Promise string `json:"promise"`

	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"` // acknowledged, and missing at a reader or in the log
	Doubled      int `json:"doubled"`
	Disordered   int `json:"out_of_order"`
	Holes        int `json:"undeclared_holes"`
	Declared     int `json:"declared"`
	Unanswered   int `json:"not_answered"` // never acknowledged, or refused for good

	Notice  float64 `json:"noticed_s"` // after the fault began; -1: nothing looks for it
	Repair  float64 `json:"repaired_s"`
	Silence float64 `json:"longest_silence_s"`
	Peak    float64 `json:"peak_mib"` // of the nodes that outlived it
	Seconds float64 `json:"seconds"`  // that the row took

	Notes    []string `json:"notes,omitempty"`
	Broken   []string `json:"broken,omitempty"` // promises
	Examples []string `json:"examples,omitempty"`

	split    int            // rooms of the conversation that were on several nodes
	closings map[string]int // close code, or "broken" → sessions of the conversation
}

func (r *row) ok() bool { return len(r.Broken) == 0 }

func (r *row) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *row) wrong(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// took fills in what the checker has found. A room of the excerpt is shorter than
// a node's window, so that whatever a log has lost can be healed: what is missing
// in it is lost, also after a reset.
func (r *row) took(found report) {
	f := found.Found
	r.Acknowledged = found.Acknowledged
	r.Lost = f.Lost + f.NotKept + f.Trimmed
	r.Doubled = f.Doubled
	r.Disordered = f.Disordered + f.Diverged + f.Reordered + f.Altered
	r.Holes = f.Holes
	r.Declared = f.Gaps + f.Resets
	r.Unanswered = f.Unanswered + f.Refused
	r.Silence = found.Silence
	r.Examples = f.Examples
	r.split, r.closings = found.Placement.Split, found.Closings
}

// judge compares the row with the promises that hold for all faults, and with the
// bounds of its own. slack stretches the bounds, for a machine that is busy.
func (r *row) judge(b bounds, slack float64) {
	for _, zero := range []struct {
		n    int
		what string
	}{
		{r.Lost, "lost"},
		{r.Doubled, "doubled"},
		{r.Disordered, "out of order"},
		{r.Holes, "undeclared holes"},
		{r.Unanswered, "not acknowledged"},
	} {
		if zero.n != 0 {
			r.wrong("%d %s", zero.n, zero.what)
		}
	}
	if r.Acknowledged == 0 {
		r.wrong("nothing was acknowledged: silence shows nothing")
	}
	for _, bound := range []struct {
		is    float64
		most  time.Duration
		what  string
		needs bool
	}{
		{r.Notice, b.notice, "noticed", true},
		{r.Repair, b.repair, "repaired", true},
		{r.Silence, b.silence, "silent for", false},
	} {
		most := slack * bound.most.Seconds()
		switch {
		case bound.most == 0:
		case bound.needs && bound.is < 0:
			r.wrong("never %s", bound.what)
		case bound.is > most:
			r.wrong("%s %.1f s, more than %.1f s", bound.what, bound.is, most)
		}
	}
}

// repairedAfter is how long after the fault's end everybody was served again: until
// the last beat at which somebody had waited for long. It is 0 when nobody had, or
// not after the end, and -1 when it never was repaired.
func repairedAfter(beats []beat, began, healed time.Time) float64 {
	for i := len(beats) - 1; i >= 0 && !beats[i].At.Before(began); i-- {
		switch {
		case beats[i].calm():
		case i == len(beats)-1:
			return -1
		default:
			return max(0, beats[i+1].At.Sub(healed).Seconds())
		}
	}
	return 0
}

// acknowledgedAfter is how many messages were acknowledged after a moment.
func acknowledgedAfter(beats []beat, moment time.Time) int {
	for _, b := range beats {
		if !b.At.Before(moment) {
			return beats[len(beats)-1].Acknowledged - b.Acknowledged
		}
	}
	return 0
}
