package chat

import (
	"errors"
	"strings"
)

// Beside the rooms that people name there are those that stand for people. Their
// names begin with '@', so that no room of ParseRoom is one of them:
//
//	@alice      the inbox of alice: all her sessions, and what waits for the next
//	@alice+bob  the direct room of alice and bob, in the order of their ids
//
// In them a user's id is escaped: letters, digits, '_', '.' and '-' stay, every
// other byte is '=' and two hexadecimal digits in capitals.

// ErrAddress says that a text names no room, of whichever kind.
var ErrAddress = errors.New("a room is named by 1 to 64 letters, digits, '_', '.' or '-', an inbox by @user, a direct room by @user+user")

// Inbox returns the room that all sessions of a user may hear.
func Inbox(u UserID) RoomID { return RoomID("@" + escape(u)) }

// Direct returns the room of two users, whoever asks. The error is ErrAddress
// when both are the same.
func Direct(a, b UserID) (RoomID, error) {
	if a == b {
		return "", ErrAddress
	}
	return RoomID("@" + escape(min(a, b)) + "+" + escape(max(a, b))), nil
}

// ParseAddress checks the name of a room of any kind, which has one spelling.
// The error is ErrAddress.
func ParseAddress(s string) (RoomID, error) {
	if !strings.HasPrefix(s, "@") {
		if _, err := ParseRoom(s); err != nil {
			return "", ErrAddress
		}
		return RoomID(s), nil
	}
	first, second, direct := strings.Cut(s[1:], "+")
	a, err := unescape(first)
	if err != nil {
		return "", err
	}
	room := Inbox(a)
	if direct {
		b, err := unescape(second)
		if err != nil {
			return "", err
		}
		if room, err = Direct(a, b); err != nil {
			return "", err
		}
	}
	if string(room) != s { // the members in another order, or needless escapes
		return "", ErrAddress
	}
	return room, nil
}

// Owner returns whose inbox a room is; ok is false when it is none.
func (r RoomID) Owner() (u UserID, ok bool) {
	name, ok := strings.CutPrefix(string(r), "@")
	if !ok || strings.Contains(name, "+") {
		return "", false
	}
	u, err := unescape(name)
	return u, err == nil
}

// Pair returns the members of a direct room; ok is false when it is none.
func (r RoomID) Pair() (a, b UserID, ok bool) {
	name, ok := strings.CutPrefix(string(r), "@")
	if !ok {
		return "", "", false
	}
	first, second, ok := strings.Cut(name, "+")
	if !ok {
		return "", "", false
	}
	a, errA := unescape(first)
	b, errB := unescape(second)
	return a, b, errA == nil && errB == nil
}

// Peer returns the other member of a direct room of u; ok is false when the room
// is none of u's.
func (r RoomID) Peer(u UserID) (peer UserID, ok bool) {
	switch a, b, direct := r.Pair(); {
	case direct && a == u:
		return b, true
	case direct && b == u:
		return a, true
	}
	return "", false
}

func plain(c byte) bool { return alphanumeric(c) || c == '_' || c == '.' || c == '-' }

const capitals = "0123456789ABCDEF"

// escape writes a user's id as it stands in the name of a room.
func escape(u UserID) string {
	var b strings.Builder
	for i := range len(u) {
		if c := u[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', capitals[c>>4], capitals[c&15]})
		}
	}
	return b.String()
}

// unescape reads it back. The error is ErrAddress.
func unescape(s string) (UserID, error) {
	if len(s) > 3*MaxUser {
		return "", ErrAddress
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '=' && i+2 < len(s) {
			high, low := strings.IndexByte(capitals, s[i+1]), strings.IndexByte(capitals, s[i+2])
			if high < 0 || low < 0 {
				return "", ErrAddress
			}
			c, i = byte(high<<4|low), i+2 // #nosec G115 -- two digits
			if plain(c) {
				return "", ErrAddress
			}
		} else if !plain(c) {
			return "", ErrAddress
		}
		b.WriteByte(c)
	}
	u, err := ParseUser(b.String())
	if err != nil {
		return "", ErrAddress
	}
	return u, nil
}
