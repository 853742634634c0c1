package screen

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Count is a number in at most five columns: 999, 1.2k, 99.9k, 100k, 1.5M.
func Count[T int | uint64](n T) string {
	if n < 10_000 {
		return strconv.FormatInt(int64(n), 10)
	}
	return scaled(float64(n))
}

// Rate is a number a second in at most five columns: 0, 0.3, 12.1, 340, 1.2k.
func Rate(v float64) string {
	switch {
	case math.IsNaN(v) || v < 0.05:
		return "0"
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v < 9_999.5:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return scaled(v)
}

// scaled is a number from 10,000 on, with a unit.
func scaled(v float64) string {
	units := []string{"", "k", "M", "G", "T", "P"}
	i := 0
	for ; v >= 999.5 && i < len(units)-1; i++ {
		v /= 1000
	}
	if v < 99.95 && i > 0 {
		return strconv.FormatFloat(v, 'f', 1, 64) + units[i]
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + units[i]
}

// Bytes is a number of bytes in at most six columns: 512 B, 1.2 kB.
func Bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n), -1
	for ; v >= 999.5 && i < 4; i++ {
		v /= 1000
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %cB", v, "kMGTP"[i])
	}
	return fmt.Sprintf("%.0f %cB", v, "kMGTP"[i])
}

// Seconds is a time of a handshake in at most six columns: 0.4ms, 12ms, 1.5s.
func Seconds(s float64) string {
	switch ms := s * 1000; {
	case math.IsNaN(s) || s < 0:
		return "-"
	case ms < 0.05:
		return "0ms"
	case ms < 9.95:
		return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
	case ms < 999.5:
		return strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
	case s < 99.95:
		return strconv.FormatFloat(s, 'f', 1, 64) + "s"
	}
	return Duration(time.Duration(min(s, 1e9) * float64(time.Second)))
}

// Duration is a duration in at most six columns, with the two largest units: 45s, 3m12s,
// 2h05m, 4d02h, 400d.
func Duration(d time.Duration) string {
	s := max(int64(d/time.Second), 0)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86_400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	case s < 100*86_400:
		return fmt.Sprintf("%dd%02dh", s/86_400, s/3600%24)
	}
	return fmt.Sprintf("%dd", s/86_400)
}
