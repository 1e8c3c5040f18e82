package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// resultsFile holds what docs/benchmarks.md shows, every single run.
const resultsFile = "docs/bench/results.json"

// Results are what was measured, by row: for each the last time.
type results map[string]measurement

// A measurement is one time that a row was measured.
type measurement struct {
	At      time.Time `json:"at"`
	Commit  string    `json:"commit"`
	Command string    `json:"command"`
	Machine machine   `json:"machine"`
	Runs    []run     `json:"runs"`
}

// A run is one line of a row, measured once.
type run struct {
	Line     string          `json:"line"`
	Round    int             `json:"round"` // counted from 1
	At       time.Time       `json:"at"`
	Commands []string        `json:"commands,omitempty"` // what was started, generator last
	Figures  figures         `json:"figures,omitempty"`
	Said     json.RawMessage `json:"generator,omitempty"` // all that the generator has measured
	Wrong    string          `json:"wrong,omitempty"`     // why the run shows nothing, or less
}

// Figures are values by the key of their metric.
type figures map[string]float64

// readResults reads what was measured before; nothing, if nothing was.
func readResults(file string) (results, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return results{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := results{}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func (r results) write(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// of returns a line's values of a metric, in the order of the runs.
func (m measurement) of(line, metric string) (values []float64) {
	for _, r := range m.Runs {
		if v, ok := r.Figures[metric]; ok && r.Line == line {
			values = append(values, v)
		}
	}
	return values
}

// rounds is how often each line was run, at most.
func (m measurement) rounds() (n int) {
	for _, r := range m.Runs {
		n = max(n, r.Round)
	}
	return n
}

// A spread is what several runs have shown.
type spread struct {
	median, least, most float64
}

// spreadOf is false when there are no values.
func spreadOf(values []float64) (spread, bool) {
	if len(values) == 0 {
		return spread{}, false
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}, true
}
