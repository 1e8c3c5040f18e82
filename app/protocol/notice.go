package protocol

import (
	"github.com/chatring/chatring/app/chat"
)

// A Notice is the data of a message in an inbox: it says that something was said
// elsewhere.
type Notice struct {
	Type NoticeType  `json:"type"`
	Room chat.RoomID `json:"room"`
	Pos  string      `json:"pos"`
	From chat.UserID `json:"from"`
}

// A NoticeType is why somebody is told.
type NoticeType string

const (
	NoticeDirect  NoticeType = "direct"  // it was said to them
	NoticeMention NoticeType = "mention" // it names them
)

// Data is the notice as it is published.
func (n Notice) Data() []byte { return marshal(n) }
