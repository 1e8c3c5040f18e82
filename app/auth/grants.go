package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unique"

	"github.com/chatring/chatring/app/chat"
)

// Bounds of a token's grants.
const (
	maxGrants  = 64
	maxPattern = 128 // bytes
)

// grants are rights by patterns of room names. Each has as many bytes as a
// pointer: whoever has the same grants shares them, for as long as anybody has
// them.
type grants struct {
	// Lines of a digit, the access, and a pattern; the highest access first.
	lines unique.Handle[string]
}

// Access is the highest that a matching pattern gives.
func (g grants) Access(room chat.RoomID) chat.Access {
	for line := range strings.SplitSeq(g.lines.Value(), "\n") {
		if line != "" && match(line[1:], string(room)) {
			return chat.Access(line[0] - '0')
		}
	}
	return chat.NoAccess
}

// match says whether a pattern fits a whole name; '*' stands for any
// characters, or none. It takes at most as many steps as the product of their
// lengths: what follows a star is looked for once, from the left, since a later
// place leaves less for the rest.
func match(pattern, name string) bool {
	begin, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, begin)
	for ok {
		var part string
		part, rest, starred = strings.Cut(rest, "*")
		if !starred {
			return strings.HasSuffix(name, part)
		}
		_, name, ok = strings.Cut(name, part)
	}
	return false
}

// Words of a grant.
var accessWords = map[string]chat.Access{"watch": chat.Watch, "read": chat.Read, "write": chat.Write, "manage": chat.Manage}

// AccessWord says an access as grants do; "none" when there is none.
func AccessWord(a chat.Access) string {
	for word, access := range accessWords {
		if access == a {
			return word
		}
	}
	return "none"
}

// A Grant says what may be done in the rooms that a pattern names.
type Grant struct {
	Rooms string `json:"rooms"` // a room's name; '*' stands for any characters
	May   string `json:"may"`   // watch, read, write or manage
}

// newGrants checks grants, and keeps them small.
func newGrants(all []Grant) (grants, error) {
	if len(all) > maxGrants {
		return grants{}, fmt.Errorf("there are %d, want %d at the most", len(all), maxGrants)
	}
	lines := make([]string, len(all))
	for i, g := range all {
		access, ok := accessWords[g.May]
		if !ok {
			return grants{}, fmt.Errorf("%q may be done by nobody: it is watch, read, write or manage", g.May)
		}
		if err := checkPattern(g.Rooms); err != nil {
			return grants{}, err
		}
		lines[i] = string(rune('0'+access)) + g.Rooms // #nosec G115 -- one of four
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return grants{unique.Make(strings.Join(slices.Compact(lines), "\n"))}, nil
}

func checkPattern(p string) error {
	room := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("_.-*@+=", c)
	}
	if p == "" || len(p) > maxPattern || strings.ContainsFunc(p, func(c rune) bool { return !room(c) }) {
		return fmt.Errorf("%.*q is no pattern of rooms: up to %d letters, digits, '_', '.', '-', '@', '+', '=', and '*' for any of them", maxPattern, p, maxPattern)
	}
	return nil
}

// openRooms are grants to write in rooms of these patterns.
func openRooms(patterns []string) (grants, error) {
	all := make([]Grant, len(patterns))
	for i, p := range patterns {
		all[i] = Grant{p, "write"}
	}
	return newGrants(all)
}

// Among returns whether a room's name fits one of some patterns.
func Among(patterns []string) (func(chat.RoomID) bool, error) {
	g, err := openRooms(patterns)
	return func(room chat.RoomID) bool { return g.Access(room) > chat.NoAccess }, err
}

// parseGrants reads the claim "grants". Whatever is not understood is refused:
// it might have been meant to take something away.
func parseGrants(claim any) (grants, error) {
	list, ok := claim.([]any)
	if !ok {
		return grants{}, errors.New("want a list")
	}
	all := make([]Grant, len(list))
	for i, entry := range list {
		g, _ := entry.(map[string]any)
		rooms, isText := g["rooms"].(string)
		may, isWord := g["may"].(string)
		if !isText || !isWord || len(g) != 2 {
			return grants{}, errors.New(`want each as {"rooms":"team-*","may":"write"}`)
		}
		all[i] = Grant{rooms, may}
	}
	return newGrants(all)
}

// ParseGrant reads "team-*=write"; without "=" it is write.
func ParseGrant(s string) (Grant, error) {
	rooms, may, ok := strings.Cut(s, "=")
	if !ok {
		may = "write"
	}
	g := Grant{rooms, may}
	if _, err := newGrants([]Grant{g}); err != nil {
		return Grant{}, err
	}
	return g, nil
}
