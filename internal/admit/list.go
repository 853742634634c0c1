package admit

// list is a list of Ts that hold their links to each other themselves, so that
// it allocates nothing and any of them is taken out at once. The zero value is
// empty.
type list[T any] struct{ first, last *T }

// links are a T's place in one list.
type links[T any] struct{ next, prev *T }

// insert puts t before another, or last if that is nil. at is where the Ts
// have their links in this list.
func (l *list[T]) insert(t, before *T, at func(*T) *links[T]) {
	here := at(t)
	here.next = before
	if before != nil {
		here.prev = at(before).prev
		at(before).prev = t
	} else {
		here.prev = l.last
		l.last = t
	}
	if here.prev != nil {
		at(here.prev).next = t
	} else {
		l.first = t
	}
}

// remove takes t out, which must be in the list.
func (l *list[T]) remove(t *T, at func(*T) *links[T]) {
	here := at(t)
	if here.prev != nil {
		at(here.prev).next = here.next
	} else {
		l.first = here.next
	}
	if here.next != nil {
		at(here.next).prev = here.prev
	} else {
		l.last = here.prev
	}
	*here = links[T]{}
}
