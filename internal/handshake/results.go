package handshake

// Results lists the Result of every Refusal that is made here.
func Results() []string {
	return []string{resultBadRequest, resultMethod, resultVersion, resultTooLarge, resultTimeout}
}
