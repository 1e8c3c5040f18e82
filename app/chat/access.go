package chat

// An Access is what somebody may do in a room. Each includes those before it.
type Access int

const (
	NoAccess Access = iota
	Watch           // listen, without being present
	Read            // be a member who only listens
	Write           // publish and signal, too
	Manage          // change what others have said, and how the room is described
)

// Rights say what a user may do in each room. They may be asked concurrently.
type Rights interface {
	Access(RoomID) Access
}

// AllRights allow everybody to write everywhere.
type AllRights struct{}

// Access implements Rights.
func (AllRights) Access(RoomID) Access { return Write }

// AccessOf is what a user with these rights may do in a room of any kind. An inbox
// is read by its owner, and by nobody else. A direct room is its members', as far
// as their rights allow it, and neither of them manages it.
func AccessOf(u UserID, rights Rights, room RoomID) Access {
	if owner, ok := room.Owner(); ok {
		if owner == u {
			return Read
		}
		return NoAccess
	}
	if _, _, direct := room.Pair(); !direct {
		return rights.Access(room)
	}
	if _, member := room.Peer(u); member {
		return min(rights.Access(room), Write)
	}
	return NoAccess
}
