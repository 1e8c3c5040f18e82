package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chatring/chatring/app/chat"
)

// Scopes are what a service may do over the HTTP API. A user has none.
type Scopes uint8

const (
	Publish Scopes = 1 << iota // messages into rooms
	Notify                     // notifications into inboxes
	Read                       // history, presence, who is online
	Admin                      // speak for users, close their sockets, tell everybody
)

// scopeWords are the words of the claim "service", each at the place of its bit.
var scopeWords = []string{"publish", "notify", "read", "admin"}

// Has says whether all of need are among the scopes.
func (s Scopes) Has(need Scopes) bool { return s&need == need }

// String is the scopes in the words of a token.
func (s Scopes) String() string {
	var words []string
	for i, word := range scopeWords {
		if s.Has(1 << i) {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// ParseScopes reads the words of a token. None at all is an error.
func ParseScopes(words []string) (Scopes, error) {
	if len(words) == 0 {
		return 0, errors.New("there is none: they are publish, notify, read and admin")
	}
	var s Scopes
	for _, word := range words {
		i := slices.Index(scopeWords, word)
		if i < 0 {
			return 0, fmt.Errorf("%.32q is none of publish, notify, read and admin", word)
		}
		s |= 1 << i
	}
	return s, nil
}

// parseService reads the claim "service". Whatever is not understood is refused.
func parseService(claim any) (Scopes, error) {
	list, ok := claim.([]any)
	if !ok {
		return 0, errors.New("want a list")
	}
	words := make([]string, len(list))
	for i, entry := range list {
		if words[i], ok = entry.(string); !ok {
			return 0, errors.New(`want a list of words, such as ["publish","notify"]`)
		}
	}
	return ParseScopes(words)
}

// servicePrefix begins the user id that stands for a service, and that of no user.
const servicePrefix = "service:"

// ServiceUser is who a service is among users: the sender of what it says.
func ServiceUser(name string) (chat.UserID, error) {
	if name == "" {
		return "", errors.New("a service has a name")
	}
	return chat.ParseUser(servicePrefix + name)
}

// ParseUser checks the name of a user, who is no service.
func ParseUser(name string) (chat.UserID, error) {
	user, err := chat.ParseUser(name)
	if err == nil && strings.HasPrefix(name, servicePrefix) {
		return "", fmt.Errorf("the id of a user does not begin with %s", servicePrefix)
	}
	return user, err
}
