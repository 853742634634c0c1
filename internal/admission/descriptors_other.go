//go:build !unix

package admission

// descriptorLimit is a bound for systems that have none of their own, where
// memory is what runs out.
func descriptorLimit() int { return 1 << 17 }
