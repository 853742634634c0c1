package session

import "sync"

// Names assigns small numbers to strings and keeps them for the life of the
// process, so that a session's record can have a number instead of a pointer. It
// is meant for words of the configuration. A program may change that all the time, so
// the words together are bounded: those that come later are all Others. The zero value
// is ready to use; number 0 is always "". Names may be used from several
// goroutines at once.
type Names struct {
	mu    sync.RWMutex // guards the following
	words []string
	index map[string]uint32
	size  int
}

// Others stands for words that have no place any more.
const Others = "(other)"

// maxNames bounds what the words and their numbers take, in bytes.
const maxNames = 16 << 20

// Number returns the number of word, a new one if it has none yet.
func (n *Names) Number(word string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.index == nil {
		n.words, n.index = []string{""}, map[string]uint32{"": 0}
	}
	i, ok := n.index[word]
	if !ok && n.size >= maxNames {
		word = Others
		i, ok = n.index[word]
	}
	if !ok {
		i = uint32(len(n.words))
		n.words, n.index[word] = append(n.words, word), i
		const overhead = 64 // of a string and its entries
		n.size += len(word) + overhead
	}
	return i
}

// Find returns the number of word, if it has one.
func (n *Names) Find(word string) (number uint32, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	number, ok = n.index[word]
	return number, ok
}

// Word is the inverse of Number. It is "" for a number that was never assigned.
func (n *Names) Word(i uint32) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if int(i) >= len(n.words) {
		return ""
	}
	return n.words[i]
}
