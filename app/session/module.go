package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A Module is something that users do beside chat, such as keeping a list of
// friends. It answers the commands that begin with its name: {"id":1,
// "cmd":"friends.list"} is the verb "list" of the module "friends". Modules know
// nothing of each other.
type Module interface {
	// Do carries out a verb and returns its reply, which becomes JSON. Args is the
	// whole command, and is not kept. Errors are a *protocol.Error, or as for other
	// commands. Do may be called concurrently, by one session once at a time.
	Do(ctx context.Context, by Caller, verb string, args []byte) (reply any, err error)
	// Dear says that a verb costs as much as many commands.
	Dear(verb string) bool
}

// A Caller is the session that asks a module something.
type Caller struct {
	User    chat.UserID
	Session string
	Rights  chat.Rights
}

func (s *Session) runCall(ctx context.Context, c protocol.Command, call protocol.Call) (protocol.Frame, error) {
	m := s.limits.Modules[call.Module]
	if m == nil {
		return protocol.Frame{}, &protocol.Error{Code: protocol.UnknownCommand, Message: "no module of this name is served here"}
	}
	reply, err := m.Do(ctx, Caller{s.user, s.id, s.rights}, call.Verb, call.Args)
	if err != nil {
		return protocol.Frame{}, fmt.Errorf("%s.%s: %w", call.Module, call.Verb, err)
	}
	var answer bytes.Buffer
	e := json.NewEncoder(&answer)
	e.SetEscapeHTML(false) // names of users would grow sixfold, beyond what an outbox holds
	if err := e.Encode(reply); err != nil {
		return protocol.Frame{}, fmt.Errorf("answer of %s.%s: %w", call.Module, call.Verb, err)
	}
	return protocol.OkJSON(c.ID, bytes.TrimSuffix(answer.Bytes(), []byte("\n"))), nil
}
