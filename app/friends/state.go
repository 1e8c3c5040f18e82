package friends

// A State is how one user stands to another, as that user sees it. What the other
// one sees is a State of its own, and the two of a pair change together.
type State string

const (
	None      State = "none"
	Requested State = "requested" // this user has asked the other one
	Asked     State = "asked"     // the other one has asked this user
	Friend    State = "friend"
	Blocked   State = "blocked" // this user wants to hear nothing of the other
)

// A Pair is how two users stand to each other, seen by the one who acts.
//
// A request that stands with one side only is none of a mistake: the other has
// declined it, has blocked this user, or had no place for it, and this user is not
// to know which, nor whether there is anybody at all.
type Pair struct{ Mine, Theirs State }

// Turned is the pair as the other one sees it.
func (p Pair) Turned() Pair { return Pair{p.Theirs, p.Mine} }

// A Verb is what a user does about another one.
type Verb string

const (
	Request Verb = "request"
	Accept  Verb = "accept"
	Decline Verb = "decline"
	Remove  Verb = "remove"
	Block   Verb = "block"
	Unblock Verb = "unblock"
)

// next returns what becomes of a pair, or why it cannot. A verb that has had its
// effect has no other one. What becomes of Mine, and whether it can, depends on
// Theirs only where Theirs shows that the other one wants to be found: a request.
func next(v Verb, p Pair) (Pair, error) {
	switch v {
	case Request:
		return request(p)
	case Accept:
		switch p.Mine {
		case Asked:
			return Pair{Friend, Friend}, nil
		case Friend:
			return p, nil
		}
		return p, errNoRequest
	case Decline:
		switch p.Mine {
		case Asked:
			return Pair{None, p.Theirs}, nil
		case None:
			return p, nil
		}
		return p, errNoRequest
	case Remove:
		if p.Mine == Friend || p.Mine == Requested {
			return Pair{None, withdrawn(p.Theirs)}, nil
		}
	case Block:
		return Pair{Blocked, withdrawn(p.Theirs)}, nil
	case Unblock:
		if p.Mine == Blocked {
			return Pair{None, p.Theirs}, nil
		}
	}
	return p, nil
}

func request(p Pair) (Pair, error) {
	switch {
	case p.Mine == Blocked:
		return p, errBlocked
	case p.Mine == Requested || p.Mine == Friend:
		return p, nil
	case p.Theirs == Requested: // both want it
		return Pair{Friend, Friend}, nil
	case p.Theirs == None:
		return Pair{Requested, Asked}, nil
	}
	return Pair{Requested, p.Theirs}, nil
}

// withdrawn is what the other one is left with when this user takes back a
// friendship or a request: the same, whether it is removed or blocked.
func withdrawn(theirs State) State {
	if theirs == Friend || theirs == Asked {
		return None
	}
	return theirs
}
