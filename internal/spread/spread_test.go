package spread

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPart: the result is exact, even if d times i overflows a Duration.
func TestPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "spread"))
		n := rapid.IntRange(1, 100_000_000).Draw(t, "sessions")
		i := rapid.IntRange(0, n).Draw(t, "turn")
		want := new(big.Int).Mul(big.NewInt(int64(d)), big.NewInt(int64(i)))
		want.Div(want, big.NewInt(int64(n)))
		if got := Part(d, i, n); int64(got) != want.Int64() {
			t.Fatalf("turn %d of %d over %v comes after %v, want %v", i, n, d, got, want)
		}
	})
	if got := Part(24*time.Hour, 150_000, 200_000); got != 18*time.Hour {
		t.Errorf("three quarters of a day are %v", got)
	}
	if got := Part(-time.Second, 1, 2); got != 0 {
		t.Errorf("half of less than nothing is %v", got)
	}
}
