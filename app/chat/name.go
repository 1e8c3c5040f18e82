package chat

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// Longest names, in bytes.
const (
	MaxRoom = 64
	MaxUser = 128
	MaxKey  = 64
)

// A RoomID is the name of a room, already checked: by ParseRoom it matches
// ^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$, the rule that HAProxy enforces too, so
// that one room has one spelling and one place on the ring; by ParseAddress it
// may also be one that stands for people.
type RoomID string

// A UserID is who somebody is, already checked by ParseUser. It comes from a
// token and may look like "auth0|5f", "user@example.com" or "[D-Tail]".
type UserID string

var (
	ErrRoomName = errors.New("a room name is 1 to 64 letters, digits, '_', '.' or '-', and starts with a letter or a digit")
	ErrUserName = errors.New("a user id is 1 to 128 bytes of printable UTF-8 without spaces")
	ErrKey      = errors.New("a key is 1 to 64 printable ASCII characters without spaces")
)

// ParseRoom checks a room name. The error is ErrRoomName.
func ParseRoom(s string) (RoomID, error) {
	if s == "" || len(s) > MaxRoom || !alphanumeric(s[0]) {
		return "", ErrRoomName
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !alphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return "", ErrRoomName
		}
	}
	return RoomID(s), nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// ParseUser checks a user id. The error is ErrUserName.
func ParseUser(s string) (UserID, error) {
	if s == "" || len(s) > MaxUser || !utf8.ValidString(s) {
		return "", ErrUserName
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return "", ErrUserName
		}
	}
	return UserID(s), nil
}

// ParseKey checks a sender's key. The error is ErrKey.
func ParseKey(s string) (string, error) {
	if s == "" || len(s) > MaxKey {
		return "", ErrKey
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return "", ErrKey
		}
	}
	return s, nil
}
