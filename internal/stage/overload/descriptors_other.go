//go:build !unix

package overload

// descriptorLimit is a bound for systems without one, where memory is what runs
// out.
func descriptorLimit() int { return 1 << 17 }
