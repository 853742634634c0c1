package nginx

import (
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
)

// level is a block, with those around it. Most directives hold for what is below, unless
// there is one of the same name there.
type level struct {
	block *syntax.Directive // nil for the files themselves
	list  []*syntax.Directive
	up    *level
	names map[string][]*syntax.Directive
}

func newLevel(block *syntax.Directive, list []*syntax.Directive, up *level) *level {
	l := &level{block: block, list: list, up: up, names: make(map[string][]*syntax.Directive, len(list))}
	for _, d := range list {
		l.names[d.Name] = append(l.names[d.Name], d)
	}
	return l
}

// within returns the level of a block in l.
func (l *level) within(block *syntax.Directive) *level { return newLevel(block, block.Block, l) }

// own returns the directives of a name in the block itself.
func (l *level) own(name string) []*syntax.Directive { return l.names[name] }

// has reports whether the block itself has a directive of the name.
func (l *level) has(name string) bool { return len(l.names[name]) > 0 }

// all returns the directives of a name that hold in the block: its own, or if it has
// none, those of the nearest block around it that has some.
func (l *level) all(name string) []*syntax.Directive {
	for ; l != nil; l = l.up {
		if list := l.names[name]; len(list) > 0 {
			return list
		}
	}
	return nil
}

// allOf is all for several names that are inherited together, in the order of the file.
func (l *level) allOf(names ...string) []*syntax.Directive {
	for ; l != nil; l = l.up {
		n := 0
		for _, name := range names {
			n += len(l.names[name])
		}
		if n == 0 {
			continue
		}
		list := make([]*syntax.Directive, 0, n)
		for _, d := range l.list {
			for _, name := range names {
				if d.Name == name {
					list = append(list, d)
				}
			}
		}
		return list
	}
	return nil
}

// one returns the directive of a name that holds in the block, with at least one
// argument; nil if there is none.
func (l *level) one(name string) *syntax.Directive {
	for _, d := range l.all(name) {
		if len(d.Args) > 0 {
			return d
		}
	}
	return nil
}

// is reports whether the directive of a name that holds in the block has a word as its
// argument, such as on.
func (l *level) is(name, word string) bool {
	d := l.one(name)
	return d != nil && d.Args[0] == word
}
