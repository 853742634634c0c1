package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// grammar is a kind of text or number that a value may be.
type grammar struct {
	want   string // in errors
	number bool   // a file format must give a number
	whole  bool   // and a whole one
	bounds bounds
	// needed: a text may not be empty, unlike one that stands for none.
	needed bool
	// parse reads a value of the field's type. It doesn't look at its bounds.
	// nil for text, which is kept as it is.
	parse func(text string) (any, error)
	// check checks a value and may bring text into its normal form. text is
	// the value as it was written, for errors.
	check func(k *Key, v reflect.Value, text string) error
	// format writes a value that a program has set.
	format func(v reflect.Value) string
}

// bounds of a number, or of a duration in nanoseconds.
type bounds struct {
	zero     bool // 0 is allowed, though it is below lo
	lo, hi   float64
	loT, hiT string // as they are written
}

var typeDuration = reflect.TypeFor[time.Duration]()

// Durations are bounded so that adding one to a time, or counting it in ticks,
// is safe everywhere. Rates are bounded so that the time between two events, and
// how many come in the longest time, can be counted everywhere.
const (
	minDuration = time.Millisecond
	maxDuration = 365 * 24 * time.Hour

	minRate = 1.0 / 3600 // a second
	maxRate = 1_000_000
)

// grammars are those that a tag "as" may name. init sets it, since the grammars
// refer to each other.
var grammars map[string]*grammar

func init() {
	grammars = map[string]*grammar{
		"duration": {
			want:   "a duration such as 5s",
			bounds: bounds{lo: float64(minDuration), hi: float64(maxDuration)},
			parse:  func(s string) (any, error) { return parseDuration(s) },
			check:  checkDuration,
			format: func(v reflect.Value) string { return Duration(time.Duration(v.Int())) },
		},
		"seconds": {
			want:   "a duration such as 5s",
			bounds: bounds{zero: true, lo: float64(time.Second), hi: float64(maxDuration)},
			parse:  func(s string) (any, error) { return parseDuration(s) },
			check: func(k *Key, v reflect.Value, text string) error {
				if err := checkDuration(k, v, text); err != nil {
					return err
				}
				if d := time.Duration(v.Int()); d%time.Second != 0 {
					return fmt.Errorf("a cookie's age is counted in whole seconds: write for example %s", Duration(d.Truncate(time.Second)))
				}
				return nil
			},
			format: func(v reflect.Value) string { return Duration(time.Duration(v.Int())) },
		},
		"integer": {want: "a whole number", number: true, whole: true, parse: parseInteger, check: checkInteger, format: formatInteger},
		"weight": {
			want: "a whole number", number: true, whole: true, bounds: bounds{lo: 1, hi: maxWeight}, parse: parseInteger, format: formatInteger,
			check: func(k *Key, v reflect.Value, text string) error {
				if v.Int() == 0 {
					return errors.New("weight 0 is not allowed: to send a backend nothing, leave it out")
				}
				return checkInteger(k, v, text)
			},
		},
		"close code": {
			want: "a close code such as 1001", number: true, whole: true, parse: parseInteger, format: formatInteger,
			check: func(_ *Key, v reflect.Value, text string) error {
				if !mayClose(int(v.Int())) {
					return fmt.Errorf("expected a close code that may be sent here, 1000, 1001, 1008, 1011 to 1014 or 3000 to 4999, got %s", shown(text))
				}
				return nil
			},
		},
		"number": {
			want: "a number such as 1.25", number: true,
			parse: func(s string) (any, error) {
				v, err := strconv.ParseFloat(s, 64)
				if err != nil {
					return math.NaN(), nil // out of any bounds
				}
				return v, nil
			},
			check: func(k *Key, v reflect.Value, text string) error {
				b, f := k.bounds, v.Float()
				switch {
				case b.zero && f != 0 && !(b.lo <= f && f <= b.hi):
					return fmt.Errorf("expected a number from %s to %s, or 0 for no bound, got %s", b.loT, b.hiT, shown(text))
				case !b.zero && !(b.lo <= f && f <= b.hi):
					return fmt.Errorf("expected a number from %s to %s, got %s", b.loT, b.hiT, shown(text))
				}
				return nil
			},
			format: func(v reflect.Value) string { return strconv.FormatFloat(v.Float(), 'f', -1, 64) },
		},
		"rate": {
			want:   "a rate such as 200/s",
			parse:  func(s string) (any, error) { return parseRate(strings.TrimSuffix(s, " per backend")) },
			check:  checkRate,
			format: func(v reflect.Value) string { return strconv.FormatFloat(v.Float(), 'f', -1, 64) + "/s" },
		},
		"per second": {
			want: "a rate such as 10, or 30/m", bounds: bounds{zero: true},
			parse: func(s string) (any, error) { return parsePerSecond(s) },
			check: func(k *Key, v reflect.Value, text string) error {
				if v.Float() == 0 {
					return nil
				}
				return checkRate(k, v, text)
			},
			format: func(v reflect.Value) string { return strconv.FormatFloat(v.Float(), 'f', -1, 64) },
		},
		"percentage": {
			want:   "a percentage such as 10%",
			bounds: bounds{lo: 1, hi: 100},
			parse:  func(s string) (any, error) { return parsePercentage(s) },
			check: func(k *Key, v reflect.Value, text string) error {
				if n := v.Int(); n < int64(k.bounds.lo) || n > int64(k.bounds.hi) {
					return fmt.Errorf("expected a percentage from %v%% to %v%%, got %s", k.bounds.lo, k.bounds.hi, shown(text))
				}
				return nil
			},
			format: func(v reflect.Value) string { return fmt.Sprintf("%d%%", v.Int()) },
		},
		"size": {
			want:   "a size such as 256KiB",
			parse:  func(s string) (any, error) { return parseBytes(s) },
			check:  checkBytes,
			format: func(v reflect.Value) string { return shortBytes(int(v.Int())) },
		},
	}
	for name, t := range texts {
		grammars[name] = &grammar{want: t.want, check: t.check, format: reflect.Value.String}
	}
	for _, name := range []string{"cookie name", "cookie path"} {
		grammars[name].needed = true
	}
}

func parseBounds(g *grammar, text string) (b bounds) {
	if rest, ok := strings.CutPrefix(text, "0|"); ok {
		b.zero, text = true, rest
	}
	b.loT, b.hiT, _ = strings.Cut(text, "..")
	number := func(s string) float64 {
		v, err := g.parse(s)
		if err != nil {
			panic(fmt.Sprintf("config: range %q: %v", text, err))
		}
		switch v := v.(type) {
		case time.Duration:
			return float64(v)
		case int:
			return float64(v)
		}
		return v.(float64)
	}
	b.lo, b.hi = number(b.loT), number(b.hiT)
	return b
}

// Parse reads the text of a single value into v, the field of the key or an item
// of it. What depends on other values or on bounds is left to Validate.
func (k *Key) Parse(text string, v reflect.Value) error {
	switch parse := parserOf(v.Type()); {
	case k.grammar != nil && k.grammar.parse != nil:
		value, err := k.grammar.parse(text)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(value))
	case parse != nil:
		value, err := parse(k, text)
		if err != nil {
			return err
		}
		v.Set(value)
	default:
		v.SetString(text)
	}
	return nil
}

// ParseDuration reads a duration by the rules of the configuration, so that the
// command line and the admin interface accept the same ones: 0, or from 1 ms to
// a year.
func ParseDuration(s string) (time.Duration, error) {
	v, err := parseDuration(s)
	if err != nil {
		return 0, err
	}
	k := Key{bounds: grammars["duration"].bounds}
	k.bounds.zero = true
	if err := checkDuration(&k, reflect.ValueOf(v), s); err != nil {
		return 0, err
	}
	return v, nil
}

func parseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	_, notNumber := strconv.ParseFloat(s, 64)
	switch {
	case err != nil && notNumber == nil:
		return 0, fmt.Errorf("bad duration %s: the unit is missing, write for example %ss", hint.Quote(s), hint.Cut(s))
	case err != nil:
		return 0, fmt.Errorf("bad duration %s: write numbers with the units ms, s, m or h, such as 500ms, 5s or 1h30m", hint.Quote(s))
	}
	return v, nil
}

func checkDuration(k *Key, value reflect.Value, text string) error {
	bad := func(why string, args ...any) error {
		return fmt.Errorf("bad duration %s: %s", hint.Quote(text), fmt.Sprintf(why, args...))
	}
	v, lo, hi := time.Duration(value.Int()), time.Duration(k.bounds.lo), time.Duration(k.bounds.hi)
	switch {
	case v < 0:
		return bad("it must not be negative")
	case v == 0 && !k.bounds.zero:
		return bad("it must be more than 0")
	case v != 0 && v < lo:
		return bad("the shortest is %s", Duration(lo))
	case v > hi && hi == maxDuration:
		return bad("the longest is %s, a year", Duration(hi))
	case v > hi:
		return bad("the longest is %s", Duration(hi))
	}
	return nil
}

// Duration writes a duration as a user would: 1h, not 1h0m0s.
func Duration(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseInteger(s string) (any, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return math.MinInt, nil // out of any bounds
	}
	return n, nil
}

func checkInteger(k *Key, v reflect.Value, text string) error {
	if n := float64(v.Int()); n < k.bounds.lo || n > k.bounds.hi {
		return fmt.Errorf("expected a number from %d to %d, got %s", int(k.bounds.lo), int(k.bounds.hi), shown(text))
	}
	return nil
}

// shown is the text of a number in a message.
func shown(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return hint.Quote(text)
	}
	return hint.Cut(text)
}

func formatInteger(v reflect.Value) string { return strconv.FormatInt(v.Int(), 10) }

// parseRate reads "200/s", "30/m" or "100/h", in events a second.
func parseRate(s string) (perSecond float64, err error) {
	bad := func(why string, args ...any) (float64, error) {
		return 0, fmt.Errorf("bad rate %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	digits, unit, found := strings.Cut(s, "/")
	v, err := strconv.ParseFloat(digits, 64)
	switch {
	case digits == "" || strings.Trim(digits, "0123456789.") != "" || err != nil && v == 0:
		return bad("write a number and /s, /m or /h, such as 200/s")
	case !found:
		return bad("the unit is missing, write for example %s/s", hint.Cut(digits))
	}
	switch unit {
	case "s":
	case "m":
		v /= time.Minute.Seconds()
	case "h":
		v /= time.Hour.Seconds()
	default:
		return bad("it is counted by the second, minute or hour: write /s, /m or /h, such as %s/s", hint.Cut(digits))
	}
	return v, nil
}

// parsePerSecond is parseRate, and reads a number alone as one of a second.
func parsePerSecond(s string) (float64, error) {
	if s != "" && strings.Trim(s, "0123456789.") == "" {
		s += "/s"
	}
	return parseRate(s)
}

func checkRate(_ *Key, value reflect.Value, text string) error {
	bad := func(why string, args ...any) error {
		return fmt.Errorf("bad rate %s: %s", hint.Quote(strings.TrimSuffix(text, " per backend")), fmt.Sprintf(why, args...))
	}
	switch v := value.Float(); {
	case v == 0:
		return bad("it must be more than 0")
	case !(v >= minRate):
		return bad("the lowest is 1/h")
	case v > maxRate:
		return bad("the highest is %d/s", maxRate)
	}
	return nil
}

// parsePercentage reads a whole percentage.
func parsePercentage(s string) (int, error) {
	digits, found := strings.CutSuffix(s, "%")
	v, err := strconv.Atoi(digits)
	switch {
	case strings.Trim(digits, "0123456789") != "" || err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("expected a whole percentage from 1%% to 100%%, got %s", hint.Quote(s))
	case !found:
		return 0, fmt.Errorf("bad percentage %s: write it with its sign, such as %s%%", hint.Quote(s), hint.Cut(digits))
	}
	return v, nil
}

// units are those of a size, the largest first.
var units = []struct {
	word  string
	bytes int
}{{"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

func parseBytes(s string) (int, error) {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.word); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 40)
			if err == nil {
				return int(n) * u.bytes, nil
			}
			break
		}
	}
	return 0, fmt.Errorf("bad size %s: write a whole number with KiB or MiB, such as 256KiB", hint.Quote(s))
}

func checkBytes(k *Key, v reflect.Value, text string) error {
	n := int(v.Int())
	switch lo, hi := int(k.bounds.lo), int(k.bounds.hi); {
	case n < lo && !(n == 0 && k.bounds.zero):
		return fmt.Errorf("bad size %s: the smallest is %s", hint.Quote(text), shortBytes(lo))
	case n > hi:
		return fmt.Errorf("bad size %s: the largest is %s", hint.Quote(text), shortBytes(hi))
	}
	return nil
}

func shortBytes(n int) string {
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.Itoa(n/u.bytes) + u.word
		}
	}
	return strconv.Itoa(n)
}
