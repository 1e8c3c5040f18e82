package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// A recording is what was said in one room, in the order in which it was said.
type recording struct {
	room  string
	lines []utterance
}

// An utterance is one line of a recording.
type utterance struct{ nick, text string }

// limits cut a recording down; 0 is no limit.
type limits struct {
	rooms int // at most so many rooms, the first of the file
	lines int // at most so many lines of each room, its first
}

// readRecording reads a file of JSON lines, {"room","kind","nick","text"},
// gzipped when its name ends in .gz. Only lines of kind "message" are said.
// Rooms come in the order of their first line.
func readRecording(path string, l limits) ([]recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		r = z
	}
	rooms, err := parseRecording(r, l)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return rooms, nil
}

func parseRecording(r io.Reader, l limits) ([]recording, error) {
	var rooms []recording
	index := make(map[string]int)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var rec struct{ Room, Kind, Nick, Text string }
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if rec.Kind != "message" {
			continue
		}
		i, ok := index[rec.Room]
		if !ok {
			if l.rooms > 0 && len(rooms) == l.rooms {
				continue
			}
			i = len(rooms)
			index[rec.Room] = i
			rooms = append(rooms, recording{room: rec.Room})
		}
		if l.lines > 0 && len(rooms[i].lines) == l.lines {
			continue
		}
		rooms[i].lines = append(rooms[i].lines, utterance{nick: userOf(rec.Nick), text: rec.Text})
	}
	return rooms, lines.Err()
}

// userOf makes a user of a nick. The recording's own preparation has put
// spaces behind brackets ("[D-Tail] "), and users have none.
func userOf(nick string) string {
	return strings.Join(strings.Fields(nick), "")
}

func countLines(rooms []recording) int {
	n := 0
	for _, r := range rooms {
		n += len(r.lines)
	}
	return n
}
