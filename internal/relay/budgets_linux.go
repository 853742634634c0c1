package relay

// budgets are those of a loop's sessions, by slot. The zero value is ready, and costs
// nothing until the first of them.
type budgets struct {
	chunks [][]budget // of chunkRecords; nil where no session has one
}

// of returns the budget of a session that has one.
func (t *budgets) of(slot int32) *budget { return &t.chunks[slot/chunkRecords][slot%chunkRecords] }

func (t *budgets) set(slot int32, b budget) {
	c := int(slot) / chunkRecords
	for c >= len(t.chunks) {
		t.chunks = append(t.chunks, nil)
	}
	if t.chunks[c] == nil {
		t.chunks[c] = make([]budget, chunkRecords)
	}
	t.chunks[c][slot%chunkRecords] = b
}

// trimChunk releases what belongs to a chunk of records without a session.
func (t *budgets) trimChunk(c int) {
	if c < len(t.chunks) {
		t.chunks[c] = nil
	}
}
