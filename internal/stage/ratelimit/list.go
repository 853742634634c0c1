package ratelimit

// list is a doubly linked list whose elements hold the links themselves, so that
// it doesn't allocate and any element is removed at once. The zero value is
// empty.
type list[T any] struct{ first, last *T }

// link is an element's place in one list.
type link[T any] struct{ next, prev *T }

// insert puts t before another element, or last if that is nil. at returns the
// links that an element has in this list.
func (l *list[T]) insert(t, before *T, at func(*T) *link[T]) {
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

// remove removes t, which must be in the list.
func (l *list[T]) remove(t *T, at func(*T) *link[T]) {
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
	*here = link[T]{}
}
