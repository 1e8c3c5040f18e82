// Package protocol is the wire, version 1: commands that clients send,
// replies and pushes that they hear, errors, close codes, and the frame that
// carries one JSON text to any number of sockets. It does not know sockets,
// rooms' state or storage. docs/protocol.md is the normative text.
package protocol

// Subprotocol is the WebSocket subprotocol of this version.
const Subprotocol = "chatring.v1"

// BearerPrefix begins the second subprotocol entry by which a browser, which
// can set no header, hands over its token.
const BearerPrefix = "bearer."

// A Code says what went wrong with a command, for programs to switch on.
type Code string

const (
	BadRequest     Code = "bad_request"     // not a command: not JSON, a field missing or of another type
	UnknownCommand Code = "unknown_command" // no such cmd
	BadRoom        Code = "bad_room"        // no possible name of a room
	BadPosition    Code = "bad_position"    // no possible position
	BadKey         Code = "bad_key"         // no possible key
	NotJoined      Code = "not_joined"      // the session has not joined this room
	AlreadyJoined  Code = "already_joined"  // the session has joined this room before
	Forbidden      Code = "forbidden"       // not allowed, whoever asks again
	NotFound       Code = "not_found"       // what the command names is not there
	BadToken       Code = "bad_token"       // not a token that this server trusts, now
	TooManyRooms   Code = "too_many_rooms"  // the session, or the user, has joined as many rooms as one may
	RateLimited    Code = "rate_limited"    // more than may be sent: later
	NoRequest      Code = "no_request"      // there is no request of this user to answer
	ListFull       Code = "list_full"       // the user's own list has no place
	Conflict       Code = "conflict"        // this key stands for another message already
	Unavailable    Code = "unavailable"     // no answer from the log for the moment
	Internal       Code = "internal"        // our fault
)

// A CloseCode is a WebSocket close code. The rule for clients: 1011, 1012 and 4000
// to 4499 come back, 4500 to 4999 do not. The server never closes with 1000
// because of a fault.
type CloseCode uint16

const (
	CloseNoStatus      CloseCode = 1005 // never on the wire: a close frame without a code
	CloseGone          CloseCode = 1006 // never on the wire: the connection broke
	CloseProtocolError CloseCode = 1002 // RFC 6455 §7.4.1
	CloseNotText       CloseCode = 1003
	CloseNotUTF8       CloseCode = 1007
	ClosePolicy        CloseCode = 1008 // floods of frames, or commands that are none
	CloseTooLarge      CloseCode = 1009
	CloseInternal      CloseCode = 1011
	CloseDrain         CloseCode = 1012 // "service restart": come back, another node serves you

	CloseUnavailable  CloseCode = 4000 // the room could not be opened: come back
	CloseSlowConsumer CloseCode = 4008 // too much waited for you: come back by position
	CloseIdle         CloseCode = 4408 // nothing was heard from you: come back
	CloseTooMany      CloseCode = 4429 // far more was sent than may be: come back later
	CloseReconnect    CloseCode = 4410 // a service wanted it: come back
	CloseTokenExpired CloseCode = 4501 // come back with another token only
	CloseLoggedOut    CloseCode = 4502 // the user has logged out everywhere
	CloseDismissed    CloseCode = 4510 // a service wanted it: stay away
)

// Reason is the text beside the code: for people, free of internals.
func (c CloseCode) Reason() string {
	switch c {
	case CloseProtocolError:
		return "protocol error"
	case CloseNotText:
		return "text frames only"
	case CloseNotUTF8:
		return "not UTF-8"
	case ClosePolicy:
		return "policy"
	case CloseTooLarge:
		return "message too large"
	case CloseInternal:
		return "internal error"
	case CloseDrain:
		return "drain: reconnect"
	case CloseUnavailable:
		return "unavailable: reconnect"
	case CloseSlowConsumer:
		return "slow consumer: reconnect"
	case CloseIdle:
		return "idle: reconnect"
	case CloseTooMany:
		return "too many frames: reconnect later"
	case CloseReconnect:
		return "disconnected: reconnect"
	case CloseTokenExpired:
		return "token expired"
	case CloseLoggedOut:
		return "logged out"
	case CloseDismissed:
		return "disconnected"
	}
	return ""
}
