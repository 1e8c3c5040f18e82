package chat

// An Access is what somebody may do in a room. Each includes those before it.
type Access int

const (
	NoAccess Access = iota
	Watch           // listen, without being present
	Read            // be a member who only listens
	Write           // publish and signal, too
)

// Rights say what a user may do in each room. They may be asked concurrently.
type Rights interface {
	Access(RoomID) Access
}

// AllRights allow everything.
type AllRights struct{}

// Access implements Rights.
func (AllRights) Access(RoomID) Access { return Write }
