package services

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Codes beside those of the wire.
const (
	unauthorized     protocol.Code = "unauthorized"
	badOrigin        protocol.Code = "bad_origin"
	badUser          protocol.Code = "bad_user"
	methodNotAllowed protocol.Code = "method_not_allowed"
	tooLarge         protocol.Code = "too_large"
	unsupported      protocol.Code = "unsupported_media_type"
)

// A refusal is an answer that says why there is no other.
type refusal struct {
	status int
	protocol.Error
}

func refuse(status int, code protocol.Code, message string) *refusal {
	return &refusal{status, protocol.Error{Code: code, Message: message}}
}

func badRequest(message string) *refusal {
	return refuse(http.StatusBadRequest, protocol.BadRequest, message)
}

func forbidden(message string) *refusal {
	return refuse(http.StatusForbidden, protocol.Forbidden, message)
}

// later refuses what may succeed after a while.
func later(status int, code protocol.Code, message string, wait time.Duration) *refusal {
	ms := max(1, (wait + time.Millisecond - 1).Milliseconds())
	return &refusal{status, protocol.Error{Code: code, Message: message, Temporary: true, RetryAfterMS: ms}}
}

func unavailable(message string) *refusal {
	return later(http.StatusServiceUnavailable, protocol.Unavailable, message, time.Second)
}

// noLog is what a service hears when the log or the nodes did not answer.
func noLog(what string, err error) *refusal {
	slog.Debug("a service is told that the log is unavailable", "what", what, "err", err)
	return unavailable("no answer from the log: send it again with the same key")
}

// asRefusal gives an error of the wire its status.
func asRefusal(e *protocol.Error) *refusal {
	return &refusal{http.StatusBadRequest, *e}
}

// setHeader says in headers what HTTP has headers for.
func (f *refusal) setHeader(h http.Header) {
	if f.RetryAfterMS > 0 {
		h.Set("Retry-After", strconv.FormatInt((f.RetryAfterMS+999)/1000, 10))
	}
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
}

func (f *refusal) body() any {
	return struct {
		Error protocol.Error `json:"error"`
	}{f.Error}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone: nobody to tell
}

// parseRoom reads the name of a room in an address.
func parseRoom(s string) (chat.RoomID, *refusal) {
	room, err := chat.ParseRoom(s)
	if err != nil {
		return "", refuse(http.StatusBadRequest, protocol.BadRoom, err.Error())
	}
	return room, nil
}

// parseUser reads the id of a user.
func parseUser(s string) (chat.UserID, *refusal) {
	user, err := chat.ParseUser(s)
	if err != nil {
		return "", refuse(http.StatusBadRequest, badUser, err.Error())
	}
	return user, nil
}
